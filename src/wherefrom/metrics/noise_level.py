"""The noise level of an image, estimated from the image alone.

Donoho and Johnstone: Ideal Spatial Adaptation by Wavelet Shrinkage, Biometrika 1994: the median of
the finest diagonal wavelet coefficients (Haar's), in absolute value, over 0.6745.

Deviation: 2x2 blocks with a pixel at an end of the range are left out; clipping hides their noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

NORMAL_MEDIAN = 0.6744897501960817  # of |n|, n standard normal
MIN_BLOCKS = 16  # blocks; with fewer the median means little, and 0 is returned


def noise_level(images: Tensor) -> Tensor:
    """Standard deviation of the noise of images (N, C, H, W) in [0, 1], (N,) float64.

    The mean over channels.  An odd last row or column is left out.
    """
    height, width = (size - size % 2 for size in images.shape[-2:])
    x = images[..., :height, :width].double()
    blocks = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=-1).flatten(2, 3)
    inner = ((blocks > 0) & (blocks < 1)).all(dim=-1)
    a, b, c, d = blocks.unbind(dim=-1)
    detail = ((a - b - c + d) / 2).abs()
    detail = torch.where(inner, detail, torch.nan)
    level = torch.nanmedian(detail, dim=2).values / NORMAL_MEDIAN
    return torch.where(inner.sum(dim=2) >= MIN_BLOCKS, level, 0.0).mean(dim=1)
