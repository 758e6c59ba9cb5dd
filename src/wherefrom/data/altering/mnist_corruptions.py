"""The ten corruptions of MNIST-C that the out-of-distribution tables use, on images of any size.

Mu, Gilmer: MNIST-C: A Robustness Benchmark for Computer Vision, arXiv 1906.02337.  Written anew;
the severities are the defaults of the published set, stated at each kind.  Lengths are given in
pixels of a 28 px image, of which an image of another size has `u` = shorter side / 28 each.

Colour images are damaged alike in every channel where the damage is a shape or a shift, and
independently per channel and pixel where it is noise.

Deviation: motion blur samples the nearest pixel along the line, as ImageMagick does, but no other
part of that program is imitated; at 28 px the two differ by rounding only.
Deviation: the last stroke of the zigzag ends on its axis; the published code divides there by the
length that is left, which can leave the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.rng import stream
from wherefrom.data.altering.degradations import gaussian
from wherefrom.data.images.items import with_channels
from wherefrom.data.images.writing import to_float, to_uint8

UNIT = 28  # the side that lengths refer to
SHOT_LEVELS = 3.0  # photons at full brightness (severity 5)
IMPULSE_SHARE = 0.17  # of the pixels, half of them black and half white (severity 4)
GLASS = (0.7, 2)  # sigma of both blurs, passes of swaps with a neighbour (severity 1)
MOTION = (10, 3.0, 45.0)  # radius, sigma, largest angle in degrees (severity 1)
FOG = (3.0, 1.4)  # strength, decay of the height map's steps (severity 5)
SPATTER = (0.65, 0.3, 1.0, 0.65, 1.5)  # mean, deviation, sigma, level, sigma of the mud (4)
MUD, MIN_MUD = 63 / 255, 0.8
LINE_REACH = 2.3  # the reach in the profile log(1 - d / reach) + 1 of a stroke
ZIG = 2.0  # half a wave's length, and its height
CANNY_SIGMA = 1.0
PLASMA_SIDE = 256

Damage: TypeAlias = Callable[[Tensor, float, torch.Generator], Tensor]


def mnist_corrupt(images: Tensor, kind: str, *, keys: Sequence[str], seed: int = 0) -> Tensor:
    """Images (N, C, H, W) float in [0, 1], C = 1 or 3, damaged by one of `MNIST_CORRUPTIONS`.

    `keys`, one per image (its digest or index), name the random streams: the result does not
    depend on order or batch size.  float32, rounded to 8 bits as a file of it would be.
    """
    if kind not in MNIST_CORRUPTIONS:
        raise InputError(
            f"the corruption is {kind!r}; choose one of {', '.join(MNIST_CORRUPTIONS)}"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 8:
        raise InputError(
            f"images of shape {tuple(images.shape)}, expected (N, 1 or 3, H, W) from 8 px"
        )
    if len(keys) != len(images):
        raise InputError(f"there are {len(images)} images, but {len(keys)} keys")
    damage, unit = MNIST_CORRUPTIONS[kind], min(images.shape[2:]) / UNIT
    rows = [
        damage(image.float().cpu(), unit, stream(seed, "mnist-c", kind, key))
        for image, key in zip(images, keys, strict=True)
    ]
    return to_float(to_uint8(torch.stack(rows))) if rows else images.float()


def near_out(far: Tensor, own: Tensor, intensity: float) -> Tensor:
    """far * w + own * (1 - w) of two (N, C, H, W), w = `intensity` in (0, 1].  Section 4.3.1.

    Row i is mixed with row i: give corruptions with their originals, and foreign sets with the
    own images of the same index.
    """
    if not 0 < intensity <= 1:
        raise InputError(f"the intensity is {intensity}; choose one above 0 and up to 1")
    if far.shape != own.shape:
        raise InputError(
            f"foreign images {tuple(far.shape)} and own images {tuple(own.shape)} cannot be mixed; "
            "give as many of one size"
        )
    return far * intensity + own * (1 - intensity)


def _shot(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    return torch.poisson(x * SHOT_LEVELS, generator=rng) / SHOT_LEVELS


def _impulse(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    drawn = torch.rand(x.shape, generator=rng)
    salted = torch.where(drawn < IMPULSE_SHARE / 2, torch.ones(()), x)
    return torch.where(drawn > 1 - IMPULSE_SHARE / 2, torch.zeros(()), salted)


def _glass(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """Blur, let pixels change places with a neighbour above and to the left, blur again."""
    sigma, passes = GLASS
    reach = max(1, round(unit))
    height, width = x.shape[1:]
    blurred = to_float(to_uint8(_gaussian(x, sigma * unit)))
    places = list(range(height * width))
    for _ in range(passes):
        swaps = (torch.rand(height, width, generator=rng) < 0.5).tolist()
        up = torch.randint(-reach, reach, (height, width), generator=rng).tolist()
        across = torch.randint(-reach, reach, (height, width), generator=rng).tolist()
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                if swaps[row][column]:
                    here = row * width + column
                    there = here + up[row][column] * width + across[row][column]
                    places[here], places[there] = places[there], places[here]
    moved = blurred.flatten(1)[:, places].view_as(x)
    return _gaussian(moved, sigma * unit)


def _motion(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """A one-sided Gaussian along a line at a random angle; the border is repeated."""
    radius, sigma, most = MOTION
    angle = float(torch.rand((), generator=rng, dtype=torch.float64) * 2 - 1) * np.deg2rad(most)
    steps = np.arange(2 * round(radius * unit) + 1)
    weights = np.exp(-0.5 * (steps / (sigma * unit)) ** 2)
    height, width = x.shape[1:]
    out = torch.zeros_like(x)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down, right = round(step * np.sin(angle)), round(step * np.cos(angle))
        rows = (torch.arange(height) + down).clamp(0, height - 1)
        columns = (torch.arange(width) + right).clamp(0, width - 1)
        out += float(weight) * x[:, rows][:, :, columns]
    return out


def _stripe(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """The outer quarters of the columns inverted: 7 at each side of 28."""
    out, quarter = x.clone(), x.shape[2] // 4
    for part in (slice(0, quarter), slice(x.shape[2] - quarter, None)):
        out[:, :, part] = 1 - x[:, :, part]
    return out


def _fog(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """(x + c h) m / (m + c) with a rough height map h in [0, 1] and the image's maximum m."""
    strength, decay = FOG
    heights = torch.from_numpy(plasma(rng, decay=decay)[:UNIT, :UNIT]).float()
    if heights.shape != x.shape[1:]:
        heights = F.interpolate(heights[None, None], tuple(x.shape[1:]), mode="bilinear")[0, 0]
    most = float(x.max())
    return (x + strength * heights) * (most / (most + strength))


def _spatter(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """Drops of grey mud where smooth noise is high."""
    mean, deviation, sigma, level, soft = SPATTER
    noise = mean + deviation * torch.randn(x.shape[1:], generator=rng, dtype=torch.float64)
    wet = (_gaussian(noise[None], sigma * unit) > level).double()
    mud = _gaussian(wet, soft * unit)
    mud = torch.where(mud < MIN_MUD, torch.zeros(()), mud).float()
    return x * (1 - mud) + MUD * mud


def _dotted_line(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """A stroke from the left to the right border, in which every second pair of columns is out."""
    first, last = torch.randint(0, UNIT - 1, (2,), generator=rng).tolist()
    drawn = _stroke(x.shape[1:], unit, (0.0, first), (UNIT - 1.0, last))
    pair = np.floor(np.arange(x.shape[2]) / unit / 2).astype(int)
    drawn[:, pair % 2 == 0] = 0
    return x + torch.from_numpy(drawn).float()


def _zigzag(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """A triangle wave around a slightly inclined axis from column 2 to column 25."""
    begin, end = 2.0, 25.0
    start = int(torch.randint(0, UNIT - 1, (), generator=rng))
    rise = int(torch.randint(-5, 5, (), generator=rng))
    length = np.hypot(end - begin, rise)
    along = np.array([end - begin, rise]) / length
    at = [0.0, *np.arange(ZIG, length, 2 * ZIG), length]
    off = [0.0, *(ZIG * (-1) ** k for k in range(len(at) - 2)), 0.0]
    corners = [
        np.array([begin, start]) + a * along + b * np.array([-along[1], along[0]])
        for a, b in zip(at, off, strict=True)
    ]
    drawn = sum(
        _stroke(x.shape[1:], unit, tuple(here), tuple(there)) for here, there in pairwise(corners)
    )
    return x + torch.from_numpy(np.asarray(drawn)).float()


def _canny(x: Tensor, unit: float, rng: torch.Generator) -> Tensor:
    """White edges on black: Canny's detector on the brightness."""
    purpose = "the corruption canny_edges"
    canny = need("skimage.feature", purpose, extra="inversion", called="scikit-image").canny
    grey = to_float(with_channels(to_uint8(x), 1))[0].double().numpy()
    edges = torch.from_numpy(canny(grey, sigma=CANNY_SIGMA * unit)).float()
    return edges.expand_as(x).clone()


def plasma(rng: torch.Generator, *, side: int = PLASMA_SIDE, decay: float) -> NDArray[np.float64]:
    """A height map (side, side) in [0, 1] on a torus: the diamond-square algorithm.

    The noise starts at amplitude 1 and falls by decay squared with each halving of the step.
    """
    if side < 2 or side & (side - 1):
        raise InputError(f"the side of a height map is {side}; choose a power of two")
    heights = np.zeros((side, side))
    step, amplitude = side, 1.0

    def rough(mean: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = torch.rand(mean.shape, generator=rng, dtype=torch.float64).numpy()
        return mean + amplitude * (2 * drawn - 1)

    while step > 1:
        half = step // 2
        corners = heights[::step, ::step]
        below = np.roll(corners, -1, 0)
        around = corners + below + np.roll(corners + below, -1, 1)
        heights[half::step, half::step] = rough(around / 4)
        centres = heights[half::step, half::step]
        across = corners + np.roll(corners, -1, 1) + centres + np.roll(centres, 1, 0)
        heights[::step, half::step] = rough(across / 4)
        along = corners + below + centres + np.roll(centres, 1, 1)
        heights[half::step, ::step] = rough(along / 4)
        step, amplitude = half, amplitude / decay**2
    heights -= heights.min()
    heights /= heights.max()
    return heights


def _stroke(
    shape: torch.Size, unit: float, start: tuple[float, ...], end: tuple[float, ...]
) -> NDArray[np.float64]:
    """Brightness of a line between two points (column, row) in pixels of 28; (H, W).

    At vertical distance d it is log(1 - d / 2.3) + 1, where that is positive.
    """
    columns, rows = np.arange(shape[1]) / unit, np.arange(shape[0])[:, None] / unit
    slope = (end[1] - start[1]) / (end[0] - start[0])
    apart = np.abs(rows - start[1] - slope * (columns - start[0]))
    with np.errstate(divide="ignore"):
        drawn = np.clip(np.log(1 - np.minimum(apart / LINE_REACH, 1)) + 1, 0, 1)
    inside = (columns >= np.floor(start[0])) & (columns < np.ceil(end[0]))
    return np.asarray(drawn * inside, dtype=np.float64)


def _gaussian(x: Tensor, sigma: float) -> Tensor:
    """(C, H, W), each channel under a Gaussian of `sigma` px; the border is repeated."""
    return gaussian(x, sigma, border="nearest")


MNIST_CORRUPTIONS: dict[str, Damage] = {
    "shot_noise": _shot,
    "impulse_noise": _impulse,
    "glass_blur": _glass,
    "motion_blur": _motion,
    "stripe": _stripe,
    "fog": _fog,
    "spatter": _spatter,
    "dotted_line": _dotted_line,
    "zigzag": _zigzag,
    "canny_edges": _canny,
}
