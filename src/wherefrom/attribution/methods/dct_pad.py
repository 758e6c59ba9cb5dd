"""DCTPAD: Deep SAD on the logarithm of the discrete cosine transform.

Laszkiewicz et al., ICML 2024, Section 4.1 and App. G.7; the artefacts are those of Frank et al.:
Leveraging Frequency Analysis for Deep Fake Image Recognition, ICML 2020.  Large images are cropped
at their centre, since any rescaling would bend the spectrum.  Features are standardised over own
and other images together (the official code does, the paper does not say so).

Deviation: the transform is orthonormal; the constant factor is gone after standardising.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wherefrom.attribution.methods.pad import PadConfig, pad_method
from wherefrom.core.config import setting
from wherefrom.detectors.deep_sad import DeepSadConfig

EPSILON = 1e-10  # App. G.7: keeps the logarithm finite
CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class DctPadConfig(PadConfig):
    """Settings of DCTPAD."""

    detector: DeepSadConfig = setting(DeepSadConfig(standardise="all"), "Deep SAD")


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
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    return images[..., top : top + side, left : left + side]


DCT_PAD = pad_method("dct-pad", "DCTPAD", dct_features, DctPadConfig())
