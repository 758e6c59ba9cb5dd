"""Damage that a test practises on: real images altered at random, in eight ways.

None of them is a kind of `data.altering.corruptions`, by which the test is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.rng import stream
from wherefrom.data.altering.degradations import gaussian, webp
from wherefrom.data.images.writing import to_float, to_uint8

MIXTURE = "mixture"


def practise(x: Tensor, partner: Tensor, key: str, *, seed: int = 0) -> dict[str, Tensor]:
    """An image (3, H, W) float in [0, 1] in each kind of `PRACTICE`, and mixed with `partner`.

    `partner`: another image (3, H, W).  `key` names the random streams.  Results are rounded to 8
    bits, as a file of them would be.
    """
    altered = {
        kind: damage(x, stream(seed, "practice", kind, key)) for kind, damage in PRACTICE.items()
    }
    altered[MIXTURE] = mix(x, partner, stream(seed, "practice", MIXTURE, key))
    return {kind: to_float(to_uint8(image.clamp(0, 1))) for kind, image in altered.items()}


def mix(x: Tensor, partner: Tensor, rng: torch.Generator) -> Tensor:
    """Two images blended by a smooth random mask, as parts of two things grow into each other."""
    side = min(x.shape[1:])
    field = gaussian(torch.randn(1, *x.shape[1:], generator=rng), side * _between(0.05, 0.2, rng))
    mask = torch.sigmoid(2 * (field - field.mean()) / field.std())
    return mask * x + (1 - mask) * partner


def _enlarged(x: Tensor, rng: torch.Generator) -> Tensor:
    """Reduced by a factor of 1.6 to 4, and enlarged again."""
    factor = _between(1.6, 4, rng)
    small = [max(4, round(side / factor)) for side in x.shape[1:]]
    reduced = F.interpolate(x[None], small, mode="bicubic", antialias=True)
    return F.interpolate(reduced, list(x.shape[1:]), mode="bicubic")[0]


def _compressed(x: Tensor, rng: torch.Generator) -> Tensor:
    """WebP at a quality of 1 to 30."""
    return to_float(webp(to_uint8(x), round(_between(1, 30, rng))))


def _spots(x: Tensor, rng: torch.Generator) -> Tensor:
    """1 to 10 percent of the pixels black or white."""
    hit = torch.rand(x.shape[1:], generator=rng) < _between(0.01, 0.1, rng)
    white = torch.rand(x.shape[1:], generator=rng) < 0.5
    return torch.where(hit, white.float(), x)


def _speckle(x: Tensor, rng: torch.Generator) -> Tensor:
    """Noise in proportion to the values, of a deviation of 5 to 40 percent of them."""
    return x * (1 + 10 ** _between(-1.3, -0.4, rng) * torch.randn(x.shape, generator=rng))


def _displaced(x: Tensor, rng: torch.Generator) -> Tensor:
    """Two to six rectangles copied to other places, half of them mirrored."""
    out, sides = x.clone(), x.shape[1:]
    for _ in range(_whole(2, 6, rng)):
        lengths = [max(2, int(min(sides) * _between(0.15, 0.4, rng))) for _ in sides]
        here, there = (
            tuple(
                slice(start, start + length)
                for length, side in zip(lengths, sides, strict=True)
                for start in (_whole(0, side - length, rng),)
            )
            for _ in range(2)
        )
        part = x[:, *there]
        if _between(0, 1, rng) < 0.5:
            part = part.flip(_whole(1, 2, rng))
        out[:, *here] = part
    return out


def _bent(x: Tensor, rng: torch.Generator) -> Tensor:
    """Two to five discs twisted, pinched or bulged."""
    at, side = _places(x), min(x.shape[1:])
    for _ in range(_whole(2, 5, rng)):
        centre = torch.tensor([_between(0, length, rng) for length in x.shape[1:]])
        away = at - centre.view(2, 1, 1)
        near = (1 - away.norm(dim=0) / (side * _between(0.2, 0.5, rng))).clamp_min(0).square()
        if _between(0, 1, rng) < 0.5:
            turn = near * _between(-2.5, 2.5, rng)
            turned = [
                away[0] * turn.cos() - away[1] * turn.sin(),
                away[0] * turn.sin() + away[1] * turn.cos(),
            ]
            at = centre.view(2, 1, 1) + torch.stack(turned)
        else:
            at = centre.view(2, 1, 1) + away * (1 + near * _between(-0.8, 1.5, rng))
    return _read(x, at)


def _waves(x: Tensor, rng: torch.Generator) -> Tensor:
    """Rows and columns moved along waves."""
    at, side = _places(x), min(x.shape[1:])
    period, height = side * _between(0.1, 0.35, rng), side * _between(0.01, 0.05, rng)
    phases = [_between(0, 2 * math.pi, rng) for _ in range(2)]
    shift = [
        height * torch.sin(2 * math.pi * at[1 - axis] / period + phase)
        for axis, phase in enumerate(phases)
    ]
    return _read(x, at + torch.stack(shift))


def _places(x: Tensor) -> Tensor:
    """Row and column of each pixel, (2, H, W)."""
    axes = [torch.arange(side, dtype=torch.float32) for side in x.shape[1:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _read(x: Tensor, at: Tensor) -> Tensor:
    """The image's values at the rows and columns `at` (2, H, W), mirrored at the border."""
    sizes = torch.tensor(x.shape[1:]).view(2, 1, 1)
    grid = (2 * (at + 0.5) / sizes - 1).flip(0).permute(1, 2, 0)
    return F.grid_sample(x[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def _between(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng))


def _whole(low: int, high: int, rng: torch.Generator) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


PRACTICE: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "enlarged": _enlarged,
    "compressed": _compressed,
    "spots": _spots,
    "speckle": _speckle,
    "displaced": _displaced,
    "bent": _bent,
    "waves": _waves,
}
