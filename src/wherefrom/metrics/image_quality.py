"""PSNR and SSIM of image pairs, one value per pair.

Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, IEEE TIP 2004.  Images are float
(N, C, H, W) in [0, 1].  Larger = more similar.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError

WINDOW, DEVIATION = 11, 1.5  # of the Gaussian window, Section III.B
C1, C2 = 0.01**2, 0.03**2  # for a range of 1


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """10 log10(1 / mean squared error) in dB, (N,) float64; infinite for equal images."""
    a, b = _pair(first, second)
    return -10 * (a - b).square().flatten(1).mean(dim=1).log10()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Mean structural similarity, (N,) float64, over the places where the window fits.

    The window is Gaussian, 11 px with deviation 1.5; images smaller than that get the largest odd
    window that fits.  Channels are averaged.
    """
    a, b = _pair(first, second)
    n, c, height, width = a.shape
    side = min(WINDOW, height - (height + 1) % 2, width - (width + 1) % 2)
    places = torch.arange(side, dtype=torch.float64, device=a.device) - side // 2
    row = torch.exp(-0.5 * (places / DEVIATION).square())
    row = row / row.sum()

    def window(x: Tensor) -> Tensor:
        flat = x.reshape(n * c, 1, height, width)
        return F.conv2d(F.conv2d(flat, row.view(1, 1, 1, -1)), row.view(1, 1, -1, 1))

    mean_a, mean_b = window(a), window(b)
    var_a = window(a * a) - mean_a.square()
    var_b = window(b * b) - mean_b.square()
    both = window(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * both + C2)
    bottom = (mean_a.square() + mean_b.square() + C1) * (var_a + var_b + C2)
    return (top / bottom).reshape(n, -1).mean(dim=1)


def _pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.shape != second.shape or first.ndim != 4:
        raise InputError(
            f"images of shape {tuple(first.shape)} and {tuple(second.shape)}; expected two equal "
            "shapes (N, C, H, W)"
        )
    if not (first.is_floating_point() and second.is_floating_point()):
        raise InputError("PSNR and SSIM need floating-point images in [0, 1]")
    return first.double(), second.double()
