"""Five kinds of damage to images, in three grades: a score of unnaturalness should rise with them.

The result is rounded to 8 bits, as a file of it would be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data.altering.degradations import gaussian, jpeg
from wherefrom.data.images.writing import to_float, to_uint8

GRADES = (1, 2, 3)


def corrupt(images: Tensor, kind: str, grade: int, *, keys: Sequence[str], seed: int = 0) -> Tensor:
    """Images (N, 3, H, W) float32 in [0, 1], damaged by one of `CORRUPTIONS`, at grade 1 to 3.

    `keys`, one per image (its digest), name the random streams: the result does not depend on
    order.  Lengths are in shares of the shorter side, so that a grade looks alike at every size.
    """
    if kind not in CORRUPTIONS:
        raise InputError(f"the corruption is {kind!r}; choose one of {', '.join(CORRUPTIONS)}")
    if grade not in GRADES:
        raise InputError(f"the grade is {grade}; choose 1, 2 or 3")
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 8:
        raise InputError(f"images of shape {tuple(images.shape)}, expected (N, 3, H, W) from 8 px")
    if len(keys) != len(images):
        raise InputError(f"there are {len(images)} images, but {len(keys)} keys")
    damage = CORRUPTIONS[kind]
    rows = [
        damage(image.float(), grade, stream(seed, "corrupt", kind, grade, key))
        for image, key in zip(images, keys, strict=True)
    ]
    return to_float(to_uint8(torch.stack(rows))) if rows else images.float()


def _blur(x: Tensor, grade: int, rng: torch.Generator) -> Tensor:
    """A Gaussian of sigma 0.5, 1 or 2 percent of the shorter side."""
    return gaussian(x, min(x.shape[1:]) * (0.005, 0.01, 0.02)[grade - 1])


def _jpeg(x: Tensor, grade: int, rng: torch.Generator) -> Tensor:
    """JPEG at quality 40, 20 or 8."""
    return to_float(jpeg(to_uint8(x), (40, 20, 8)[grade - 1]))


def _noise(x: Tensor, grade: int, rng: torch.Generator) -> Tensor:
    """Independent Gaussian noise of deviation 0.03, 0.08 or 0.2."""
    return x + (0.03, 0.08, 0.2)[grade - 1] * torch.randn(x.shape, generator=rng)


def _patch_swap(x: Tensor, grade: int, rng: torch.Generator) -> Tensor:
    """Of the 16 patches of a 4 x 4 grid, 2, 6 or all change places."""
    count = (2, 6, 16)[grade - 1]
    chosen = torch.randperm(16, generator=rng)[:count].tolist()
    height, width = x.shape[1] // 4, x.shape[2] // 4
    out = x.clone()
    for here, there in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        out[:, *_patch(here, height, width)] = x[:, *_patch(there, height, width)]
    return out


def _patch(place: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a patch in a grid of 4 x 4, counted row by row."""
    row, column = divmod(place, 4)
    return (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))


def _warp(x: Tensor, grade: int, rng: torch.Generator) -> Tensor:
    """A smooth displacement of deviation 1, 2.5 or 5 percent of the shorter side."""
    _, height, width = x.shape
    side = min(height, width)
    field = gaussian(torch.randn(2, height, width, generator=rng), side * 0.08)
    shift = field / field.std() * (0.01, 0.025, 0.05)[grade - 1] * side
    y, x_at = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack(
        [2 * (x_at + shift[0] + 0.5) / width - 1, 2 * (y + shift[1] + 0.5) / height - 1]
    )
    moved = F.grid_sample(
        x[None], grid.permute(1, 2, 0)[None], padding_mode="reflection", align_corners=False
    )
    return moved[0]


CORRUPTIONS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "blur": _blur,
    "jpeg": _jpeg,
    "noise": _noise,
    "patch-swap": _patch_swap,
    "warp": _warp,
}
