"""Align a query with a candidate on the grid of latents, and measure how well they agree.

W compares a whole picture with a whole picture, cell by cell; a flip, a shift or a crop moves the
cells.  Here the query's latent and its mirror image are laid over each candidate's latent at
several scales and at every offset, and compared where they overlap.

Symbols:
    q    latents of the query and of its mirror image, (F, c, h, w)
    o    latents of the candidates, (K, c, h, w)
    s    share of the candidate's height and width that the query shows, above 1 where the query
         shows more than the candidate

The comparison is a normalised correlation of high-passed latents.  The high-pass (a cell less the
mean of its 9 x 9 surroundings) takes off what a new palette or new light changes; each channel is
divided by the deviation of the query's, so that no channel outweighs the others.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import full_precision

SURROUNDINGS = 9  # cells
SHIFT = 2  # cells by which a picture of equal scale may be moved
# (height, width): the whole picture; four fifths, nine tenths of it; three quarters of one side, as
# after a change of aspect; a picture with a border of a tenth on each side.
SCALES = ((1.0, 1.0), (0.9, 0.9), (0.8, 0.8), (0.75, 1.0), (1.0, 0.75), (1.2, 1.2))
TINY = 1e-9


@dataclass(frozen=True)
class Alignment:
    """How a query lies on a candidate.

    `agreement`: correlation over the overlap, -1 to 1.  `y0`, `x0`, `y1`, `x1`: the query's top,
    left, bottom and right edge in the candidate, as shares of its height and width; below 0 or
    above 1 where the query shows more than the candidate.  `mirrored`: the edges are those of
    the query's mirror image.
    """

    agreement: float
    mirrored: bool
    y0: float
    x0: float
    y1: float
    x1: float

    @property
    def is_whole(self) -> bool:
        """Whether the two show the same extent, but for a shift of cells."""
        sides = self.y1 - self.y0, self.x1 - self.x0
        return all(math.isclose(side, 1) for side in sides)

    @property
    def is_plain(self) -> bool:
        """Whether the two lie on each other as they are, but for a shift of cells."""
        return self.is_whole and not self.mirrored


def align(q: Tensor, o: Tensor) -> list[Alignment]:
    """The best alignment of each candidate, K of them; `q` (F, c, h, w) with F = 1 or 2.

    In full float32 precision, whatever the caller's settings.
    """
    with full_precision(q.device):
        return _align(q, o)


def _align(q: Tensor, o: Tensor) -> list[Alignment]:
    h, w = q.shape[-2:]
    spread = _spread(q)
    mine = _high_passed(q.float() / spread)
    best: list[tuple[Tensor, Tensor, Tensor]] = []  # agreement, row, column: (F, K) each
    for height, width in SCALES:
        size = round(h / height), round(w / width)
        best.append(_correlate(mine, _high_passed(_resized(o.float() / spread, size))))
    agreement = torch.stack([correlation for correlation, _, _ in best])  # (scales, F, K)
    flat = agreement.flatten(0, 1).argmax(0).tolist()
    table = torch.stack([torch.stack(triple) for triple in best]).double()  # (scales, 3, F, K)
    listed = table.permute(3, 0, 2, 1).flatten(1, 2).tolist()  # K rows of (scale, frame) triples
    return [_alignment(listed[k][place], place, len(q), (h, w)) for k, place in enumerate(flat)]


def difference_map(q: Tensor, o: Tensor, alignment: Alignment) -> Tensor:
    """How far a query's latent (c, h, w) is from a candidate's, cell by cell, (h, w).

    The candidate is laid over the query as aligned (`q` is the mirror image where `mirrored`, and
    the map is turned back to the query's own frame).  Root mean square over channels of the
    high-passed difference, each channel in units of the query's deviation; NaN where the candidate
    ends.
    """
    spread = _spread(q[None])
    grid, inside = _grid(alignment, q.shape[-2:])
    laid = F.grid_sample(o[None].float() / spread, grid[None], align_corners=False)
    with full_precision(q.device):
        apart = _high_passed(q[None].float() / spread) - _high_passed(laid)
    cells = apart[0].square().mean(0).sqrt()
    cells = torch.where(inside, cells, torch.nan)
    return cells.flip(-1) if alignment.mirrored else cells


def _spread(q: Tensor) -> Tensor:
    return q.float().std((0, 2, 3), correction=0).clamp_min(TINY)[:, None, None]


def _high_passed(latents: Tensor) -> Tensor:
    return latents - _both_ways(latents, *(_surroundings(n) for n in latents.shape[-2:]))


def _resized(latents: Tensor, size: tuple[int, int]) -> Tensor:
    sides = zip(latents.shape[-2:], size, strict=True)
    return _both_ways(latents, *(_resizing(n, to) for n, to in sides))


# Each of these is linear and the same for every row, so it is a small matrix product: several times
# faster than the operator for images, which is made for large ones.


def _both_ways(latents: Tensor, down: Tensor, across: Tensor) -> Tensor:
    out: Tensor = down.to(latents.device) @ latents @ across.to(latents.device).T
    return out


@functools.cache
def _surroundings(n: int) -> Tensor:
    """(n, n): the mean of the cells at most half of `SURROUNDINGS` away."""
    place = torch.arange(n)
    near = ((place[:, None] - place).abs() <= SURROUNDINGS // 2).float()
    return near / near.sum(1, keepdim=True)


@functools.cache
def _resizing(n: int, to: int) -> Tensor:
    """(to, n): linear interpolation, widened where it reduces."""
    unit = torch.eye(n)[None, None]
    table: Tensor = F.interpolate(unit, (to, n), mode="bilinear", antialias=True)[0, 0]
    return table


@functools.cache
def _windows(n: int, size: int) -> Tensor:
    """(n - size + 1, n): the sum over each window of `size` cells."""
    first, place = torch.arange(n - size + 1)[:, None], torch.arange(n)
    return ((place >= first) & (place < first + size)).float()


def _correlate(q: Tensor, o: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best correlation (F, K) of q (F, c, h, w) and o (K, c, H, W), and the query's top and left.

    The smaller of the two is slid over the larger.  Along a side on which they are equal, it gives
    up `SHIFT` cells on either end, so that it has room to move.  All offsets compare equally many
    cells.
    """
    larger = o.shape[-2] >= q.shape[-2] and o.shape[-1] >= q.shape[-1]
    field, template = (o, q) if larger else (q, o)
    first = [SHIFT if a == b else 0 for a, b in zip(o.shape[-2:], q.shape[-2:], strict=True)]
    tall, wide = (size - 2 * cut for size, cut in zip(template.shape[-2:], first, strict=True))
    y, x = first
    cosines = _slide(template[..., y : y + tall, x : x + wide], field)  # (templates, fields, Y, X)
    cosines = cosines if larger else cosines.transpose(0, 1)
    agreement, place = cosines.flatten(2).max(-1)
    down, right = place // cosines.shape[-1], place % cosines.shape[-1]
    return (agreement, down - y, right - x) if larger else (agreement, y - down, x - right)


def _slide(template: Tensor, field: Tensor) -> Tensor:
    """Cosine of each template (T, c, a, b) with each window of each field (N, c, A, B).

    (T, N, A - a + 1, B - b + 1): by Fourier transforms, of which only the offsets that do not wrap
    around are kept.
    """
    (a, b), size = template.shape[-2:], field.shape[-2:]
    spectrum = torch.fft.rfft2(template, s=tuple(size)).conj()
    product = (spectrum[:, None] * torch.fft.rfft2(field)).sum(2)
    inner = torch.fft.irfft2(product, s=tuple(size))[..., : size[0] - a + 1, : size[1] - b + 1]
    energy = _both_ways(field.square().sum(1), _windows(size[0], a), _windows(size[1], b))
    norm = template.flatten(1).norm(dim=1)[:, None, None, None]
    cosines: Tensor = inner / (norm * energy.clamp_min(0).sqrt()).clamp_min(TINY)
    return cosines


def _alignment(best: Sequence[float], place: int, frames: int, size: tuple[int, int]) -> Alignment:
    """The alignment with the agreement, row and column in `best`, at `place` among scales."""
    number, frame = divmod(place, frames)
    agreement, row, column = best
    height, width = (round(n / s) for n, s in zip(size, SCALES[number], strict=True))
    return Alignment(
        agreement,
        frame == 1,
        row / height,
        column / width,
        (row + size[0]) / height,
        (column + size[1]) / width,
    )


def _grid(alignment: Alignment, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Where each cell of the query lies in the candidate, for `grid_sample`; and if it does."""
    edges = ((alignment.y0, alignment.y1), (alignment.x0, alignment.x1))
    y, x = (
        low + (torch.arange(n) + 0.5) / n * (high - low)
        for n, (low, high) in zip(size, edges, strict=True)
    )
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    inside = ((grid > 0) & (grid < 1)).all(-1)
    return 2 * grid - 1, inside
