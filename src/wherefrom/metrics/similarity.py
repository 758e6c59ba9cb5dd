"""How alike an image and its reconstruction are, pixel by pixel and in structure."""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.core.errors import InputError, MissingExtraError

WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004, and what TensorFlow's SSIM uses
BEST_PSNR = 100.0  # of equal images, whose ratio is infinite


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """10 log10(1 / MSE) in dB per image of two (N, C, H, W) in [0, 1]; (N,) float64, at most 100.

    Larger = more alike.
    """
    _check(images, others)
    errors = (images.double() - others.double()).square().flatten(1).mean(dim=1)
    return (-10 * errors.clamp_min(10 ** (-BEST_PSNR / 10)).log10()).cpu()


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity per image of two (N, C, H, W) in [0, 1], from 11 px; (N,) float64.

    Wang et al.: Image Quality Assessment: From Error Visibility to Structural Similarity, 2004: a
    Gaussian window of 11 px, mean over the places where it fits, and over channels.  Larger = more
    alike, at most 1.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise MissingExtraError("scikit-image", "inversion", "structural similarity") from error

    _check(images, others)
    if min(images.shape[2:]) < WINDOW:
        raise InputError(
            f"images of {images.shape[3]}x{images.shape[2]} px; structural similarity needs "
            f"{WINDOW} px or more"
        )
    found = [
        structural_similarity(  # type: ignore[no-untyped-call]
            a.double().cpu().numpy(),
            b.double().cpu().numpy(),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=SIGMA,
            use_sample_covariance=False,
        )
        for a, b in zip(images, others, strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


def _check(images: Tensor, others: Tensor) -> None:
    if images.ndim != 4 or images.shape != others.shape:
        raise InputError(
            f"images {tuple(images.shape)} and {tuple(others.shape)} cannot be compared; give two "
            "sets (N, C, H, W) of one shape"
        )
