"""Plus anomaly detection: Deep SAD on features that need no generator.

Laszkiewicz et al.: Single-Model Attribution of Generative Models Through Final-Layer Inversion,
ICML 2024, Section 4.1 and App. G.7.  The two methods differ in the features only:

    RawPAD   pixels in [-1, 1], made smaller by nearest-neighbour interpolation, not standardised
             (as the official code)
    DCTPAD   the logarithm of the cosine transform of the centre, standardised over own and other
             images together (the official code does, the paper does not say so); after Frank et
             al.: Leveraging Frequency Analysis for Deep Fake Image Recognition, ICML 2020.  Images
             are cropped, since any rescaling would bend the spectrum.

Deviation: RawPAD makes each axis smaller only where it is longer than `side`; the paper's images
are squares that are longer.
Deviation: the cosine transform is orthonormal; the constant factor is gone after standardising.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.config import TrainedConfig
from wherefrom.attribution.protocol import (
    NUMBERS,
    FitMaterial,
    Method,
    SavedScorer,
    Scorer,
    as_values,
)
from wherefrom.core.config import setting
from wherefrom.detectors.deep_sad import DeepSadConfig, FittedDeepSad, fit_deep_sad
from wherefrom.generators.last_layer.introspection import holds_numbers

EPSILON = 1e-10  # App. G.7: keeps the logarithm finite
CHUNK = 512

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


@dataclass(frozen=True, kw_only=True)
class RawPadConfig(PadConfig):
    """Settings of RawPAD."""

    detector: DeepSadConfig = setting(DeepSadConfig(standardise="none"), "Deep SAD")


@dataclass(frozen=True, kw_only=True)
class DctPadConfig(PadConfig):
    """Settings of DCTPAD."""

    detector: DeepSadConfig = setting(DeepSadConfig(standardise="all"), "Deep SAD")


def raw_features(images: Tensor, side: int) -> Tensor:
    """Pixels in [-1, 1], (N, C, h, w) with h, w <= side, of images (N, C, H, W) in [0, 1].

    Of numbers (N, C, 1, T) the numbers themselves, (N, C T): a row has no side to make smaller.
    """
    if holds_numbers(tuple(images.shape[1:])):
        return images.flatten(1)
    size = [min(length, side) for length in images.shape[-2:]]
    return 2 * F.interpolate(images, size=size, mode="nearest") - 1


def dct_features(images: Tensor, side: int) -> Tensor:
    """log(|DCT-II| + 1e-10) of each channel of the centre, (N, C, h, w) with h, w <= side, float32.

    Images (N, C, H, W) in [0, 1].  Computed in float64: a coefficient that is zero stays near zero.
    """
    from scipy.fft import dctn

    parts = [
        np.log(np.abs(dctn(part.numpy(), axes=(-2, -1), norm="ortho")) + EPSILON)
        for part in torch.split(centre_crop(images, side).cpu().double(), CHUNK)
    ]
    return torch.from_numpy(np.concatenate(parts)).float().to(images.device)


def centre_crop(images: Tensor, side: int) -> Tensor:
    """The middle of each axis longer than `side`; one pixel more is cut off at the far end."""
    height, width = images.shape[-2:]
    row, column = max(height - side, 0) // 2, max(width - side, 0) // 2
    return images[..., row : row + side, column : column + side]


@dataclass(frozen=True, eq=False)
class PadScorer(Scorer):
    """Deep SAD's squared distance of an image's features."""

    features: Features
    side: int
    detector: FittedDeepSad

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64; images float32 (N, C, H, W) in [0, 1]."""
        return self.detector.score(self.features(images, self.side).to(self.detector.mean))

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        return self.detector.to_saved()


def fit_pad(features: Features, material: FitMaterial, config: PadConfig) -> PadScorer:
    """Train Deep SAD on features of own images (+1) and of the others (-1)."""
    own = features(as_values(material.own(config.train_samples)), config.side)
    others = features(as_values(material.others), config.side)
    x = torch.cat([own, others]).to(material.device)
    y = torch.ones(len(x), device=x.device)
    y[len(own) :] = -1
    detector = fit_deep_sad(x, y, config=config.detector, seed=material.seed, track=material.track)
    return PadScorer(features, config.side, detector)


def read_pad(features: Features, saved: SavedScorer) -> PadScorer:
    """The inverse of `PadScorer.to_saved`."""
    detector = FittedDeepSad.from_saved(saved.meta, saved.tensors, saved.device)
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
    return Method(
        name=name,
        title=title,
        presets=presets,
        fit=partial(fit_pad, features),
        read=partial(read_pad, features),
    )


NUMBERS_CONFIG = RawPadConfig(detector=DeepSadConfig(epochs=30))

RAW_PAD = pad_method("raw-pad", "RawPAD", raw_features, RawPadConfig(), numbers=NUMBERS_CONFIG)
DCT_PAD = pad_method("dct-pad", "DCTPAD", dct_features, DctPadConfig())
