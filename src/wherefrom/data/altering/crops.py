"""Crops whose corners lie on a grid of 8 pixels: patterns of a layer's stride stay in phase."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wherefrom.core.rng import stream

GRID = 8
MAX_CROPS = 4  # of one image


def random_crops(x: Tensor, side: int, count: int, *, seed: int) -> Tensor:
    """`count` crops per image at random places of the grid, (N * count, C, h, w).

    An image that is not larger than one crop is returned whole, once.
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


def crop_count(shape: tuple[int, ...], side: int) -> int:
    """The number of crops of `side` that cover an image (C, H, W), at most `MAX_CROPS`."""
    tiles = 1
    for size in shape[-2:]:
        tiles *= -(-size // side)
    return min(tiles, MAX_CROPS)


def each_tile(x: Tensor, side: int) -> Iterator[Tensor]:
    """Crops that together cover the images: all images at one place, then at the next."""
    for top in _spread(x.shape[-2], side):
        for column in _spread(x.shape[-1], side):
            yield _crop(x, top, column, side)


def _places(size: int, side: int) -> list[int]:
    return list(range(0, max(size - side, 0) + 1, GRID))


def _spread(size: int, side: int) -> list[int]:
    """Starts of the fewest crops that cover `size`, evenly spread over the grid.

    At the far edge a rest narrower than the grid may be left out.
    """
    places = _places(size, side)
    wanted = -(-size // side)
    last = len(places) - 1
    return sorted({places[round(last * i / max(wanted - 1, 1))] for i in range(wanted)})


def _crop(x: Tensor, row: int, column: int, side: int) -> Tensor:
    return x[..., row : row + side, column : column + side]
