"""Approximate scores of all rows, with a bound on their error.

The products are in float32, or, for enough queries where the processor multiplies it, in bfloat16.
Rows that all point about the same way lose their mean row first, so that their roundings are small.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.compute.passes import multiplies_bfloat16
from wherefrom.origin.index.scanning.exact import RowBlock
from wherefrom.origin.index.scanning.top_rows import GROUP

CONVERT_ELEMENTS = 2**18  # at a time: 1 MiB of float32 stays in a core's cache, between two passes
SCORE_ELEMENTS = 2**18  # so do the scores of a tile's rows with one slice of the queries
SLICE = 128  # queries
TILE_ROWS, DEVICE_ROWS = 2**15, 2**17  # at most, on the CPU and elsewhere
LOW_PRECISION_BATCH = 16  # below, converting the rows to bfloat16 costs more than it saves
LOW_PRECISION_ROWS = 8192  # below, there is no time to save, and roundings do not average out
ROW_NORM = 1 + 2**-9  # of a unit vector after rounding to float16, at most
BFLOAT16_ROUNDING = 2**-8  # half a unit in the last of 8 significant bits
CENTRED_FROM = 1 / 8  # norm of the mean row


@dataclass(frozen=True)
class Rows:
    """All parts, on one device; at least one row is alive."""

    parts: Sequence[RowBlock]

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.parts[0].rows.device

    @functools.cached_property
    def count(self) -> int:
        """How many rows are alive."""
        return sum(len(part.ids) - len(part.dead) for part in self.parts)

    @functools.cached_property
    def by_id(self) -> tuple[Tensor, Tensor]:
        """All ids ascending (-1 for a dead row), and where each row stands among all."""
        ordered = torch.cat([part.ids for part in self.parts]).sort()
        return ordered.values, ordered.indices

    @functools.cached_property
    def mean(self) -> Tensor:
        """The mean row (D,) float64, on the CPU."""
        return torch.stack([part.total for part in self.parts]).sum(0) / self.count

    @functools.cached_property
    def radius(self) -> float:
        """The largest distance of a row from the mean rounded to float32: a pass over all rows."""
        centre = self.mean.float().to(self.device)
        largest = max(
            float(torch.linalg.vector_norm(piece, dim=1).max())
            for tile in tiles(self.parts, TILE_ROWS)
            for _, piece in _pieces(tile.rows, centre)
        )
        return largest * (1 + len(centre) * 2.0**-24)


@dataclass(frozen=True)
class Tile:
    """Some neighbouring rows (n, D) of a part: `first` is their place in it, `place` among all."""

    part: RowBlock
    rows: Tensor
    first: int
    place: int

    @functools.cached_property
    def gone(self) -> Tensor:
        """Which of the first n rows, with n rounded up to a multiple of `GROUP`, are no rows."""
        ends = torch.tensor([self.first, self.first + len(self.rows)])
        low, high = torch.searchsorted(self.part.dead, ends.to(self.part.dead)).tolist()
        padding = torch.arange(len(self.rows), padded(len(self.rows)), device=self.rows.device)
        return torch.cat([self.part.dead[low:high] - self.first, padding])


def padded(rows: int) -> int:
    """The next multiple of `GROUP`."""
    return -(-rows // GROUP) * GROUP


def tiles(parts: Sequence[RowBlock], size: int) -> Iterator[Tile]:
    """All rows in order, at most `size` at a time."""
    place = 0
    for part in parts:
        for first in range(0, len(part.ids), size):
            yield Tile(part, part.rows[first : first + size], first, place + first)
        place += len(part.ids)


def _pieces(rows: Tensor, centre: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """(where, rows less the centre (n, D) float32), written over the piece before."""
    count, dim = rows.shape
    step = max(64, CONVERT_ELEMENTS // dim) if rows.is_cpu else count
    buffer = torch.empty(min(step, count), dim, device=rows.device)
    for first in range(0, count, step):
        some = slice(first, min(first + step, count))
        piece = buffer[: some.stop - first].copy_(rows[some])
        yield some, piece if centre is None else piece.sub_(centre)


def dtype_for(rows: Rows, batch: int) -> torch.dtype:
    """In which dtype to score so many queries."""
    low = batch >= LOW_PRECISION_BATCH and rows.count >= LOW_PRECISION_ROWS
    pays = rows.device.type == "cpu" and multiplies_bfloat16(rows.device)
    return torch.bfloat16 if low and pays else torch.float32


class Rough:
    """Queries as they are multiplied with the rows, and how wrong the products can be.

    A rough score lacks about what the query scores with the mean row, `base`, which is added where
    it matters: so the spread of scores that are nearly equal is not lost in their size.
    """

    def __init__(self, rows: Rows, queries: Tensor, dtype: torch.dtype) -> None:
        """`queries`: (Q, D) float64 on the CPU; `dtype`: float32 or bfloat16."""
        self.rows = rows
        low = dtype == torch.bfloat16
        mean, given = rows.mean.to(rows.device), queries.to(rows.device)
        self.queries: Tensor = given.to(dtype)
        self._across = self.queries.T
        centred = low and float(rows.mean.norm()) > CENTRED_FROM
        self.centre = mean.float() if centred else None
        # Float32 scores lose it after the product, others with the rows or not at all.
        base = given @ (mean.float().double() if centred else mean * (not low))
        self._shift = None if low else base.float()
        self.base: Tensor = base if self._shift is None else self._shift.double()
        self._radius = rows.radius if centred else ROW_NORM
        # Cauchy-Schwarz over the rounding of the query, the additions in float32 in whatever
        # order (with a factor of two to spare), and the rounding of the rows.
        lost = torch.linalg.vector_norm(given - self.queries.double(), dim=1)
        lost += given.shape[1] * 2.0**-23
        if low:
            lost += 1.01 * BFLOAT16_ROUNDING
        elif not _multiplies_all_of_float32():
            lost += 2.02 * BFLOAT16_ROUNDING
        self._lost: Tensor = lost * self._radius
        self._rounding = 2 * (BFLOAT16_ROUNDING if low else 2.0**-24)

    def at_most(self, scores: Tensor) -> Tensor:
        """The exact score (Q,) that no row with at most the rough score `scores` (Q,) exceeds."""
        scores = scores.double()
        return self.base + scores + self._lost + self._rounding * scores.abs()

    def at_least(self, exact: Tensor) -> Tensor:
        """The rough score (Q,) that every row with an exact score of `exact` (Q,) reaches."""
        return exact - self.base - self._lost - self._rounding * (1 + self._radius)

    def scores(self) -> Iterator[tuple[Tile, slice, Tensor]]:
        """(tile, queries, rough scores (n and padding, those queries) float32), for all of both.

        The scores of dead rows and of the padding are -inf.  Each tensor is written over the last.
        """
        batch = len(self.queries)
        width = min(batch, SLICE) if self.rows.device.type == "cpu" else batch
        most = TILE_ROWS if self.rows.device.type == "cpu" else DEVICE_ROWS
        size = padded(min(most, max(SCORE_ELEMENTS // width, SCORE_ELEMENTS // SLICE)))
        buffer = torch.empty(size * width, device=self.rows.device)
        for tile in tiles(self.rows.parts, size):
            products = self._products(tile.rows)
            for first in range(0, batch, width):
                some = slice(first, min(first + width, batch))
                shape = padded(len(tile.rows)), some.stop - some.start
                scores = buffer[: shape[0] * shape[1]].view(shape)
                scores[: len(tile.rows)].copy_(products[:, some])
                if self._shift is not None:
                    scores.sub_(self._shift[some])
                yield tile, some, scores.index_fill_(0, tile.gone, -torch.inf)

    def _products(self, rows: Tensor) -> Tensor:
        """Products (n, Q) of rows with all queries."""
        # Rows before queries: so matrix products are faster, and the scores of a group of rows
        # stand below each other, where their maximum is found many queries at a time.
        products = rows.new_empty(len(rows), len(self.queries), dtype=self.queries.dtype)
        low = products.dtype == torch.bfloat16
        wide = rows.new_empty(rows.shape if low else 0, dtype=products.dtype)
        for where, piece in _pieces(rows, self.centre):
            if low:
                wide[where].copy_(piece)
            else:
                torch.mm(piece, self._across, out=products[where])
        return torch.mm(wide, self._across, out=products) if low else products


def _multiplies_all_of_float32() -> bool:
    """Whether torch was not told to round the factors of float32 products (TF32, bfloat16)."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was told so, one device at a time
        return False
