"""Impostors: negatives that the owner makes from images of their own model.

They show the detector what the model's content looks like when it did not come out of this last
layer, in this place: the same pictures mirrored, moved by a pixel, softened, sharpened, resampled
or noised.  No rival model, and no image of one, is needed.

Deviation: the paper's negatives are real images (or one rival's) only.  Against real images alone
the detector may learn what is real, not what is the model's own; a second seed of the same
architecture then passes (the paper's LSGAN falls to 69.75 % in Table 2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.data.images.writing import to_float, to_uint8

Change = Callable[[Tensor, torch.Generator], Tensor]


def _blur(x: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-3, 4, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    padded = F.pad(x, (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, kernel.reshape(1, 1, 1, 7).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(rows, kernel.reshape(1, 1, 7, 1).repeat(channels, 1, 1, 1), groups=channels)


def _resample(x: Tensor, factor: float) -> Tensor:
    size = [max(1, round(side * factor)) for side in x.shape[-2:]]
    small = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)


def _noise(x: Tensor, rng: torch.Generator, levels: float) -> Tensor:
    return x + torch.randn(x.shape, generator=rng).to(x) * (levels / 255)


def _shift(x: Tensor, down: int, right: int) -> Tensor:
    """Move by whole pixels; the edge is repeated, so that there is no seam."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return padded[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]


MOVES: tuple[Change, ...] = (
    lambda x, _: x.flip(3),
    lambda x, _: _shift(x, 1, 0),
    lambda x, _: _shift(x, 0, 1),
    lambda x, _: _shift(x, -1, -1),
    lambda x, _: _shift(x.flip(3), 1, 0),
    lambda x, _: x.flip(2).flip(3),
)
RETOUCHES: tuple[Change, ...] = (
    lambda x, _: _blur(x, 0.4),
    lambda x, _: _blur(x, 0.6),
    lambda x, _: _blur(x, 1.0),
    lambda x, _: 1.5 * x - 0.5 * _blur(x, 0.7),
    lambda x, _: 2.0 * x - _blur(x, 0.5),
    lambda x, _: _resample(x, 0.75),
    lambda x, _: _resample(x, 0.5),
    lambda x, _: 0.93 * x,
    lambda x, _: 1.07 * x,
    lambda x, _: x.clamp_min(0).pow(1.1),
    lambda x, rng: _noise(x, rng, 2.0),
    lambda x, rng: _noise(x, rng, 5.0),
)


def retouch_in_turn(images: Tensor, *, seed: int) -> Tensor:
    """Each image after one of all moves and retouches, in turn, uint8 (N, C, H, W) as given."""
    result = torch.empty_like(images)
    changes = (*MOVES, *RETOUCHES)
    for index, change in enumerate(changes):
        part = to_float(images[index :: len(changes)])
        changed = change(part, stream(seed, "in turn", index)).clamp(0, 1)
        result[index :: len(changes)] = to_uint8(changed)
    return result


def make_impostors(images: Tensor, *, seed: int, moved: float) -> Tensor:
    """One impostor per image, float32 (N, C, H, W) in [0, 1] like the input.

    A share `moved` of them is mirrored or moved, the rest retouched; within each group the
    changes take turns.  Image i depends on (images[i], i, N, seed) only.
    """
    result = torch.empty_like(images)
    count = round(moved * len(images))
    for changes, first, last in ((MOVES, 0, count), (RETOUCHES, count, len(images))):
        for index, change in enumerate(changes):
            place = slice(first + index, last, len(changes))
            rng = stream(seed, "impostors", len(changes), index)
            result[place] = change(images[place], rng).clamp(0, 1)
    return result
