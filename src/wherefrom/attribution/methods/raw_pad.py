"""RawPAD: Deep SAD on the pixels.

Laszkiewicz et al., ICML 2024, Section 4.1 and App. G.7: pixels in [-1, 1], made smaller by
nearest-neighbour interpolation, not standardised (as the official code).

Deviation: each axis is made smaller only where it is longer than `side`; the paper's images are
squares that are longer.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.methods.pad import PadConfig, pad_method
from wherefrom.core.config import setting
from wherefrom.detectors.deep_sad import DeepSadConfig
from wherefrom.generators.last_layer.introspection import holds_numbers


@dataclass(frozen=True, kw_only=True)
class RawPadConfig(PadConfig):
    """Settings of RawPAD."""

    detector: DeepSadConfig = setting(DeepSadConfig(standardise="none"), "Deep SAD")


def raw_features(images: Tensor, side: int) -> Tensor:
    """Pixels in [-1, 1], (N, C, h, w) with h, w <= side, of images (N, C, H, W) in [0, 1].

    Of numbers (N, C, 1, T) the numbers themselves, (N, C T): a row has no side to make smaller.
    """
    if holds_numbers(tuple(images.shape[1:])):
        return images.flatten(1)
    size = [min(length, side) for length in images.shape[-2:]]
    return 2 * F.interpolate(images, size=size, mode="nearest") - 1


NUMBERS_CONFIG = RawPadConfig(detector=DeepSadConfig(epochs=30))

RAW_PAD = pad_method("raw-pad", "RawPAD", raw_features, RawPadConfig(), numbers=NUMBERS_CONFIG)
