"""Plus anomaly detection: Deep SAD on features that need no generator.

Laszkiewicz et al.: Single-Model Attribution of Generative Models Through Final-Layer Inversion,
ICML 2024, Section 4.1 and App. G.7.  RawPAD and DCTPAD differ in the features only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import TrainedConfig
from wherefrom.attribution.protocol import NUMBERS, Material, Method, Saved, as_values
from wherefrom.core.config import setting
from wherefrom.detectors.deep_sad import DeepSadConfig, FittedDeepSad, fit_deep_sad

# Images (N, C, H, W) in [0, 1] and the largest side -> features (N, C, h, w), float32.
Features = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class PadConfig(TrainedConfig):
    """Settings of RawPAD and DCTPAD."""

    side: int = setting(
        32,
        "features are at most this wide and high",
        source="App. G.7: 32, SD and styles 128",
        low=8,
    )
    detector: DeepSadConfig = setting(DeepSadConfig(), "Deep SAD")


@dataclass(frozen=True, eq=False)
class PadScorer:
    """Deep SAD's squared distance of an image's features."""

    features: Features
    side: int
    detector: FittedDeepSad

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64; images float32 (N, C, H, W) in [0, 1]."""
        return self.detector.score(self.features(images, self.side).to(self.detector.mean))

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors for `core.store`."""
        return self.detector.to_saved()


def fit_pad(features: Features, material: Material, config: PadConfig) -> PadScorer:
    """Train Deep SAD on features of own images (+1) and of the others (-1)."""
    own = features(as_values(material.own(config.train_samples)), config.side)
    others = features(as_values(material.others), config.side)
    x = torch.cat([own, others]).to(material.device)
    y = torch.ones(len(x), device=x.device)
    y[len(own) :] = -1
    detector = fit_deep_sad(x, y, config=config.detector, seed=material.seed, track=material.track)
    return PadScorer(features, config.side, detector)


def read_pad(features: Features, saved: Saved) -> PadScorer:
    """The inverse of `PadScorer.to_saved`."""
    detector = FittedDeepSad.from_saved(saved.meta, saved.tensors).to(saved.device)
    return PadScorer(features, saved.config.side, detector)


def pad_method(
    name: str,
    title: str,
    features: Features,
    default: PadConfig,
    *,
    numbers: PadConfig | None = None,
) -> Method:
    """The method of these features, with the presets that both have."""
    presets = {
        "default": default,
        "paper": default.with_values({"train_samples": 10_000}),
        "quick": default.with_values({"train_samples": 1000, "detector.epochs": 10}),
    }
    if numbers is not None:
        presets[NUMBERS] = numbers
    return Method(name, title, presets, partial(fit_pad, features), partial(read_pad, features))
