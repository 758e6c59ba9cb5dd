"""Reconstructs images as G(E(x)), and measures PSNR and SSIM, of real and of generated images.

Cho: PhD thesis, Concordia University, 2025, Section 4.2.1.  On generated images it measures the
inversion alone, on real ones generation and inversion.  Larger = better.

Deviation: images are clipped to [0, 1] first, as they are when saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.data.images.writing import image_grid, to_uint8
from wherefrom.inversion.model import FittedInverter
from wherefrom.metrics.image_quality import psnr, ssim

EQUAL_PSNR = 1000.0  # stands for infinity in JSON
NOT_FINITE = "the network gives NaN or infinity for it; leave it out"


@dataclass(frozen=True, eq=False)
class Reconstruction(AsTable):
    """Images beside G(E(x)), and how alike they are; larger = more alike.

    NaN where the network gave no finite number for an image.
    """

    IMAGE = "name"

    names: tuple[str, ...]
    images: Tensor  # (N, C, S, S)
    recovered: Tensor  # (N, C, S, S)
    psnr: Tensor  # (N,) dB
    ssim: Tensor  # (N,)

    def grid(self, columns: int = 8) -> Tensor:
        """Pairs side by side, uint8 (C, H, W): an image, then what came back of it."""
        pairs = torch.stack([self.images, self.recovered], dim=1).flatten(0, 1)
        return image_grid(to_uint8(pairs.nan_to_num(0.0)).cpu(), 2 * columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; equal images have a PSNR of 1000.

        An image without a finite PSNR and SSIM has None for both, and the reason; the means are
        over the others, None if there are none.
        """
        shown = self.psnr.clamp_max(EQUAL_PSNR)
        finite = shown.isfinite() & self.ssim.isfinite()
        rows = zip(self.names, shown.tolist(), self.ssim.tolist(), finite.tolist(), strict=True)
        return {
            "mean_psnr": float(shown[finite].mean()) if bool(finite.any()) else None,
            "mean_ssim": float(self.ssim[finite].mean()) if bool(finite.any()) else None,
            "images": [
                {"name": n, "psnr": p, "ssim": s, "reason": ""}
                if ok
                else {"name": n, "psnr": None, "ssim": None, "reason": NOT_FINITE}
                for n, p, s, ok in rows
            ],
        }

    def as_table(self) -> tuple[Rows, str]:
        return self.to_dict()["images"], "reconstructions"


def reconstruct(
    fitted: FittedInverter, images: Tensor, *, names: Sequence[str] | None = None
) -> Reconstruction:
    """G(E(x)) of images (N, C, S, S) in [0, 1], with PSNR and SSIM."""
    if not len(images):
        raise InputError("no image to reconstruct")
    return compare(images, fitted.reconstruct(images), names)


def compare(
    images: Tensor, recovered: Tensor, names: Sequence[str] | None = None
) -> Reconstruction:
    """Images (N, C, S, S) in [0, 1] beside their reconstructions; without names by number."""
    shown = tuple(names) if names else tuple(f"image {i}" for i in range(len(images)))
    pair = images.float(), recovered.to(images.device)
    return Reconstruction(shown, *pair, psnr(*pair), ssim(*pair))
