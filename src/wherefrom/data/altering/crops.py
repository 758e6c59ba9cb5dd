"""Crops on a grid of 8 pixels, so that what repeats with the stride of a layer stays in phase."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wherefrom.core.rng import stream

GRID = 8


def random_crops(x: Tensor, side: int, count: int, *, seed: int) -> Tensor:
    """`count` crops per image at random places of the grid, (N * count, C, h, w).

    Smaller images are whole, and then one crop is all there is.
    """
    ys, xs = (_places(size, side) for size in x.shape[-2:])
    if len(ys) * len(xs) == 1:
        return next(each_tile(x, side))
    rng = stream(seed, "crops")
    chosen = torch.randint(len(ys) * len(xs), (len(x), count), generator=rng).tolist()
    crops = [
        _crop(image, ys[place // len(xs)], xs[place % len(xs)], side)
        for image, row in zip(x, chosen, strict=True)
        for place in row
    ]
    return torch.stack(crops)


def crop_count(shape: tuple[int, ...], side: int, limit: int = 4) -> int:
    """How many crops of `side` one image (C, H, W) is worth: its tiles, at most `limit`."""
    tiles = 1
    for size in shape[-2:]:
        tiles *= -(-size // side)
    return min(tiles, limit)


def each_tile(x: Tensor, side: int) -> Iterator[Tensor]:
    """Crops of all images at the same place, one place after the other, that cover the image."""
    for top in _spread(x.shape[-2], side):
        for left in _spread(x.shape[-1], side):
            yield _crop(x, top, left, side)


def _places(size: int, side: int) -> list[int]:
    return list(range(0, max(size - side, 0) + 1, GRID))


def _spread(size: int, side: int) -> list[int]:
    """Starts of the fewest crops that cover `size`, evenly spread over the grid.

    A rest narrower than the grid at the far edge may stay out.
    """
    places = _places(size, side)
    wanted = -(-size // side)
    last = len(places) - 1
    return sorted({places[round(last * i / max(wanted - 1, 1))] for i in range(wanted)})


def _crop(x: Tensor, top: int, left: int, side: int) -> Tensor:
    return x[..., top : top + side, left : left + side]
