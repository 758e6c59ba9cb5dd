"""Detecting from its pixels that an image saved without loss was a JPEG file before.

A decoder produces blocks of 8x8 pixels whose cosine coefficients (ITU-T T.81, A.3.3) are multiples
of the steps that the encoder rounded them to, up to the rounding of pixels, unless pixels lie at 0
or 255, where they are cut off.  The first search takes the tables of the Independent JPEG Group,
for which one block may be enough; the second takes any steps, for which many blocks are needed.

Both compare two densities of a coefficient's distance from the nearest multiple: normal with the
width of the rounding, or anything between two multiples.  An image that was scaled, cropped off the
grid of 8 pixels or retouched all over since has no such traces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wherefrom.data.decoding.jpeg_tables import scaled_tables

Floats = NDArray[np.float64]

MIN_LOG_RATIO = 20.0  # of the densities; images without traces stay far below
MAX_BLOCKS, MAX_TABLE_BLOCKS = 64, 16
QUALITIES = slice(9, 96)  # rows of the tables: 10 to 96; above, a step is hardly a step
_NOISE, _STRAY = 0.6, 0.1  # coefficients' rounding error; the share that is cut off or retouched
_ELSEWHERE = ((4, 4), (3, 0), (0, 5), (2, 6))  # grids that no JPEG file has
_SAME = 0.5  # coefficients that are nearer to each other count once
_LUMA = (0.299, 0.587, 0.114)
_BASE = np.arange(8)
_DCT = 0.5 * np.cos((2 * _BASE[None] + 1) * _BASE[:, None] * np.pi / 16)
_DCT[0] /= np.sqrt(2)
# The 20 lowest frequencies but the mean: the others are zero in most blocks.
_LOWEST = np.argsort(np.add.outer(_BASE, _BASE), axis=None, kind="stable")[1:21]
_ALL = np.arange(1, 64)
_STEPS: Floats = np.arange(2.0, 41.0)


def jpeg_traces(image: Image.Image) -> str:
    """Says that an image of mode L or RGB shows traces of JPEG compression, or ""."""
    pixels = np.asarray(image)
    if not _fits(pixels):
        return ""
    # Drawings of straight edges fit by chance, but then they do so on any grid.
    if any(_fits(pixels[down:, right:]) for down, right in _ELSEWHERE):
        return ""
    return "JPEG compression before it was saved in this format"


def _fits(pixels: NDArray[np.uint8]) -> bool:
    if min(pixels.shape[:2]) < len(_BASE):
        return False
    blocks = _blocks(pixels)
    return len(blocks) > 0 and (_fits_a_table(blocks) or _fits_any_steps(blocks))


def _blocks(pixels: NDArray[np.uint8]) -> Floats:
    """Luminance of the blocks that are not flat, (B, 8, 8), taken from all over (H, W[, 3])."""
    rows, columns = (np.arange(size // 8) for size in pixels.shape[:2])
    # Four times as many as are used, since many may be flat.
    step = max(1, int(np.sqrt(len(rows) * len(columns) / (4 * MAX_BLOCKS))))
    whole = pixels[: len(rows) * 8, : len(columns) * 8]
    tiles = whole.reshape(len(rows), 8, len(columns), 8, -1)[::step, :, ::step]
    luma = tiles.astype(np.float64) @ np.array(_LUMA if pixels.ndim == 3 else (1.0,))
    blocks = luma.swapaxes(1, 2).reshape(-1, 8, 8)
    blocks = blocks[blocks.max((1, 2)) > blocks.min((1, 2))]
    chosen = np.linspace(0, len(blocks) - 1, min(len(blocks), MAX_BLOCKS)).astype(int)
    picked: Floats = blocks[chosen]
    return picked


def _fits_a_table(blocks: Floats) -> bool:
    cut_off = (blocks.min((1, 2)) == 0) | (blocks.max((1, 2)) == 255)
    best = np.lexsort((-blocks.std((1, 2)), cut_off))[:MAX_TABLE_BLOCKS]
    coefficients = _coefficients(blocks[best], _ALL)
    alike = np.rint(coefficients / _SAME).astype(np.int16)
    firsts = {row.tobytes(): index for index, row in reversed([*enumerate(alike)])}
    coefficients = coefficients[sorted(firsts.values())]
    steps = scaled_tables()[QUALITIES][:, _ALL].astype(np.float64)
    ratio = _log_ratio(coefficients[:, None], np.maximum(steps, 1.0))  # (B, Q, F)
    ratio[:, steps < _STEPS[0]] = 0
    fit = np.maximum(ratio.sum(-1), 0).sum(0)
    return bool(fit.max(initial=0) - np.log(len(steps)) > MIN_LOG_RATIO)


def _fits_any_steps(blocks: Floats) -> bool:
    values = np.sort(np.abs(_coefficients(blocks, _LOWEST)), axis=0)
    repeated = np.diff(values, axis=0, prepend=-1.0) < _SAME
    ratio = _log_ratio(values[..., None], _STEPS)  # (B, F, S)
    ratio[repeated] = 0
    fit = ratio.sum(0).max(-1) - np.log(len(_STEPS))
    return bool(np.maximum(fit, 0).sum() > MIN_LOG_RATIO)


def _coefficients(blocks: Floats, places: NDArray[np.int64]) -> Floats:
    """Type II cosine coefficients of (B, 8, 8) at F of the 64 frequencies, (B, F)."""
    coefficients: Floats = (_DCT @ blocks @ _DCT.T).reshape(-1, 64)[:, places]
    return coefficients


def _log_ratio(values: Floats, steps: Floats) -> Floats:
    """Log ratio of the densities of values as multiples of the steps; 0 where rounded to zero."""
    multiples = np.rint(values / steps)
    counted = multiples != 0  # most coefficients are below half of most steps
    step, value = (np.broadcast_to(each, counted.shape)[counted] for each in (steps, values))
    distance = (value - multiples[counted] * step) / _NOISE
    near = step / (_NOISE * np.sqrt(2 * np.pi)) * np.exp(-(distance**2) / 2)
    ratio: Floats = np.zeros(counted.shape)
    ratio[counted] = np.log((1 - _STRAY) * near + _STRAY)
    return ratio
