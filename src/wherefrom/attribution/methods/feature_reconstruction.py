"""SM-Inv with a distance in the features of a pretrained network (the paper's SM-Inv_inc).

Laszkiewicz et al., ICML 2024, App. E and G.7.

Deviation: the default network is EfficientNet-Lite0, which installs with pip; the paper's is
Inception-V3 (`features = "inception-v3"`, from the hub's cache).
Deviation: the features compared are those after global pooling; the official code stops Inception
at Mixed_5d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.methods.reconstruction import (
    PRESETS,
    InversionConfig,
    InversionScorer,
    View,
    make_scorer,
    read_scorer,
)
from wherefrom.attribution.protocol import Material, Method, Saved
from wherefrom.core.config import setting
from wherefrom.core.errors import ArtifactError
from wherefrom.encoders import DEFAULT_FEATURES, FeatureNetwork, load_feature_encoder

SMALLEST = 32  # the default network halves its input five times


@dataclass(frozen=True, kw_only=True)
class FeatureInversionConfig(InversionConfig):
    """Settings of SM-Inv with features."""

    features: str = setting(
        DEFAULT_FEATURES,
        "the network: its name, or a folder that transformers saved",
        source="App. E: Inception-V3",
    )
    resolution: int = setting(
        0,
        "side of the network's input, px; 0: the longer side of the images, at least 32",
        source="App. E: images are not resized",
        low=0,
    )


@dataclass(frozen=True, eq=False)
class FeatureInversionScorer(InversionScorer):
    """An `InversionScorer` that remembers which network it compares by."""

    identity: str = ""  # digest of the network

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors for `core.store`; neither model is among them."""
        _, tensors = super().to_saved()
        return {"network": self.identity}, tensors


def fit_feature_inversion(
    material: Material, config: FeatureInversionConfig
) -> FeatureInversionScorer:
    """The scorer with the network that the settings name."""
    network = _network(config, material.generator.image_shape, material.device)
    made = make_scorer(material, as_view(network), config)
    return FeatureInversionScorer(
        made.generator, made.view, made.starts, config, None, network.identity.digest
    )


def read_feature_inversion(saved: Saved) -> FeatureInversionScorer:
    """The inverse of `to_saved`; `ArtifactError` if the network has changed."""
    if saved.generator is None:
        raise TypeError("an inversion is read together with its generator")
    network = _network(saved.config, saved.generator.image_shape, saved.device)
    if network.identity.digest != saved.meta["network"]:
        raise ArtifactError(
            f"the network {saved.config.features} is {network.identity.digest}, but the "
            f"attributor was fitted with {saved.meta['network']}; fit it again"
        )
    made = read_scorer(saved, as_view(network))
    return FeatureInversionScorer(
        made.generator, made.view, made.starts, saved.config, None, network.identity.digest
    )


def as_view(network: FeatureNetwork) -> View:
    """Images (N, C, H, W) in [0, 1] -> features (N, D); grey images in all three channels."""

    def features(images: Tensor) -> Tensor:
        wide = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return network.features(wide)

    return features


def _network(
    config: FeatureInversionConfig, shape: tuple[int, int, int], device: torch.device | str
) -> FeatureNetwork:
    resolution = config.resolution or max(SMALLEST, *shape[1:])
    return load_feature_encoder(config.features, resolution=resolution).to(device)


INVERSION_FEATURE = Method(
    "inversion-feature",
    "SM-Inv, features",
    {name: FeatureInversionConfig(**values) for name, values in PRESETS.items()},
    fit_feature_inversion,
    read_feature_inversion,
    needs_generator=True,
    needs="latent",
)
