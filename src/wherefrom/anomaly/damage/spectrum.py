"""How much of each frequency an image holds: what blur, noise and compression change first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 8  # px of a block, as in JPEG
MAX_SIDE = 512  # px of the central part that is looked at
FLOOR = 0.05  # of 255: added before the logarithm, below one step of 8 bits
CHROMA = ((0, 1), (1, 0), (1, 1), (2, 2), (3, 3))  # frequencies (row, column) of colour differences
VALUES = SIDE * SIDE - 1 + 2 * len(CHROMA)


def spectrum(pixels: Tensor) -> Tensor:
    """Logarithms of the mean absolute coefficients of 8 x 8 blocks, (73,) float64.

    `pixels`: uint8 (3, H, W), from 8 px; the blocks are those of the file's own grid, in the
    central 512 px.  Luma gives 63 values (all frequencies but 0), blue - green and red - green five
    each.
    """
    planes = _blocks(_planes(pixels))
    energy = (planes.abs().mean(dim=(1, 2)) + FLOOR).log()
    colour = [energy[plane, row, column] for plane in (1, 2) for row, column in CHROMA]
    return torch.cat([energy[0].flatten()[1:], torch.stack(colour)])


def _planes(pixels: Tensor) -> Tensor:
    """Luma, blue - green and red - green of the central part, (3, h, w) float64, in 0 to 255."""
    starts = [max(0, side - MAX_SIDE) // 2 // SIDE * SIDE for side in pixels.shape[1:]]
    ends = [
        start + min(side, MAX_SIDE) // SIDE * SIDE
        for start, side in zip(starts, pixels.shape[1:], strict=True)
    ]
    red, green, blue = pixels[:, starts[0] : ends[0], starts[1] : ends[1]].double()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, blue - green, red - green])


def _blocks(planes: Tensor) -> Tensor:
    """The cosine transform of each block, (3, rows, columns, 8, 8)."""
    blocks = planes.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    return _COSINES @ blocks @ _COSINES.T


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 values, (8, 8) float64."""
    k = torch.arange(SIDE, dtype=torch.float64)
    rows = torch.cos((2 * k + 1) * k[:, None] * math.pi / (2 * SIDE)) / 2
    rows[0] /= math.sqrt(2)
    return rows


_COSINES = _cosines()
