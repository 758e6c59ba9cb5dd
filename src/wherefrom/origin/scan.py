"""The exact nearest rows of a query among all rows, and how its scores are spread over all of them.

Every row is scored once, roughly: in float32, or, where the processor multiplies it, in bfloat16.
There the mean row is taken off first, so that roundings are small where all rows point about the
same way.  The rows with the best rough scores are scored again, exactly.  A bound on the rough
error then proves that no other row belongs to the answer; a query for which it cannot, because many
rows are nearly equal, is scanned a second time and every row within the bound is scored exactly.
So the answer is the exact one, not one that is exact most of the time.

The mean of a query's scores is its inner product with the mean row, in float64.  The spread comes
from the rough scores; see `STD_TOLERANCE`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.origin.exact import EXACT_ELEMENTS, Part, digits_of, exact_scores, inner, rank

CHUNK_ROWS = 32_768  # scored at a time, then searched for candidates
TILE_ELEMENTS = 2**18  # converted at a time: 1 MiB of float32 stays in a core's cache
QUERY_BLOCK = 256
GROUP = 64  # neighbouring rows of which only the best is looked at first
MIN_CANDIDATES = 64
LOW_PRECISION_BATCH = 16  # below, converting the rows to bfloat16 costs more than it saves
LOW_PRECISION_ROWS = 8192  # below, there is no time to save, and roundings do not average out
ROW_NORM = 1 + 2**-9  # of a unit vector after rounding to float16, at most
BFLOAT16_ROUNDING = 2**-8  # half a unit in the last of 8 significant bits
# How far the reported standard deviation may be from that of the exact scores, relative to it,
# and hence how far two layouts or batch sizes may differ.  Roundings of single scores are nearly
# independent, so that they hardly add to the spread; the largest error seen in tests is 4e-4.
# Where all scores are nearly equal, float32 scores leave an absolute error instead.
STD_TOLERANCE, STD_FLOOR = 1e-3, 1e-6


@dataclass(frozen=True)
class Rows:
    """All parts, on one device; at least one row is alive."""

    parts: Sequence[Part]

    @functools.cached_property
    def count(self) -> int:
        """How many rows are alive."""
        return sum(len(part.ids) - len(part.dead) for part in self.parts)

    @functools.cached_property
    def mean(self) -> Tensor:
        """The mean row (D,) float64, on the CPU."""
        return torch.stack([part.total for part in self.parts]).sum(0) / self.count

    @functools.cached_property
    def radius(self) -> float:
        """The largest distance of a row from the mean rounded to float32: a pass over all rows."""
        centre = self.mean.float().to(self.parts[0].rows.device)
        largest = max(
            float(torch.linalg.vector_norm(tile, dim=1).max())
            for _, part, first, size in _chunks(self.parts)
            for _, tile in _tiles(part, first, size, centre)
        )
        return largest * (1 + len(centre) * 2.0**-24)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (Q,) float64 of each query's scores over all rows."""

    mean: Tensor
    std: Tensor


def scan(rows: Rows, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Spread]:
    """Ids (Q, k) int64, exact scores (Q, k) float64, spread; best first, ties by smaller id.

    `queries`: (Q, D) float64 at unit norm, on the CPU; the work is done where the rows are.
    At least k rows must be alive.  All results are on the CPU.
    """
    found = [
        _scan_block(rows, block, k, len(queries)) for block in torch.split(queries, QUERY_BLOCK)
    ]
    ids, scores, std = (torch.cat(columns).cpu() for columns in zip(*found, strict=True))
    return ids, scores, Spread((queries * rows.mean).sum(1), std)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones there, not merely possible."""
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


class _Rough:
    """Queries as they are multiplied with the rows, and how wrong the products can be."""

    def __init__(self, rows: Rows, queries: Tensor, dtype: torch.dtype) -> None:
        """`queries`: (Q, D) float64 on the device of the rows; `dtype`: float32 or bfloat16."""
        low = dtype == torch.bfloat16
        self.queries = queries.to(dtype)
        self.centre = rows.mean.float().to(queries.device) if low else None
        self.base = torch.zeros_like(queries[:, 0])
        if self.centre is not None:
            self.base = queries @ self.centre.double()
        # What is left of each query's mean score, to be taken off before scores are squared.
        self.middle = None if low else (queries.cpu() @ rows.mean).to(queries.device).float()
        self.radius = rows.radius if low else ROW_NORM
        # Cauchy-Schwarz over the rounding of the query, the additions in float32 in whatever
        # order (with a factor of two to spare), and the rounding of the rows.
        lost = torch.linalg.vector_norm(queries - self.queries.double(), dim=1)
        lost += queries.shape[1] * 2.0**-23
        if low:
            lost += 1.01 * BFLOAT16_ROUNDING
        elif not _multiplies_all_of_float32():
            lost += 2.02 * BFLOAT16_ROUNDING
        self.lost: Tensor = lost * self.radius
        self.score_rounding = 2 * (BFLOAT16_ROUNDING if low else 2.0**-24)

    def at_most(self, scores: Tensor) -> Tensor:
        """The exact score (Q,) that no row with at most the rough score `scores` (Q,) exceeds."""
        scores = scores.double()
        return self.base + scores + self.lost + self.score_rounding * scores.abs()

    def at_least(self, exact: Tensor) -> Tensor:
        """The rough score (Q,) that every row with an exact score of `exact` (Q,) reaches."""
        return exact - self.base - self.lost - self.score_rounding * (1 + self.radius)


def _multiplies_all_of_float32() -> bool:
    """Whether torch was not told to round the factors of float32 products (TF32, bfloat16)."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was told so, one device at a time
        return False


def _scan_block(rows: Rows, queries: Tensor, k: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    queries = queries.to(rows.parts[0].rows.device)
    low = batch >= LOW_PRECISION_BATCH and rows.count >= LOW_PRECISION_ROWS
    low = low and multiplies_bfloat16(queries.device)
    rough = _Rough(rows, queries, torch.bfloat16 if low else torch.float32)
    wanted = min(max(MIN_CANDIDATES, 4 * k), rows.count)
    best = torch.empty(len(queries), 0, device=queries.device)
    places = torch.empty_like(best, dtype=torch.int64)
    sums = torch.zeros(2, len(queries), dtype=torch.float64, device=queries.device)
    for start, part, first, scores in _rough_scores(rows, rough):
        sums += _sums(part, first, scores, rough.middle)
        values, at = _largest(scores, wanted)
        best, places = torch.cat([best, values], 1), torch.cat([places, at + start], 1)
        best, order = best.topk(min(wanted, best.shape[1]))
        places = places.gather(1, order)
    ids, scores = rank(*exact_scores(rows.parts, places, digits_of(queries)), k)
    if wanted < rows.count:
        _settle(rows, queries, ids, scores, scores[:, -1] <= rough.at_most(best[:, -1]))
    mean, square = sums / rows.count
    return ids, scores, (square - mean.square()).clamp(min=0).sqrt()


def _chunks(parts: Sequence[Part]) -> Iterator[tuple[int, Part, int, int]]:
    """(place of its first row among all rows, part, first row in the part, rows) per chunk."""
    place = 0
    for part in parts:
        for first in range(0, len(part.ids), CHUNK_ROWS):
            size = min(CHUNK_ROWS, len(part.ids) - first)
            yield place + first, part, first, size
        place += len(part.ids)


def _tiles(
    part: Part, first: int, size: int, centre: Tensor | None
) -> Iterator[tuple[int, Tensor]]:
    """(place in the chunk, rows less the centre (n, D) float32) for stretches that fit a cache."""
    step = max(128, TILE_ELEMENTS // part.rows.shape[1]) if part.rows.is_cpu else size
    for begin in range(0, size, step):
        end = min(begin + step, size)
        tile = part.rows[first + begin : first + end].float()
        yield begin, tile if centre is None else tile.sub_(centre)


def _rough_scores(rows: Rows, rough: _Rough) -> Iterator[tuple[int, Part, int, Tensor]]:
    """(place among all rows, part, place in it, scores (Q, n and padding) float32) per chunk.

    The scores lack those of the centre.  Those of dead rows and of the padding are -inf.  Each
    chunk's scores are written over the last one's: new memory for each costs as much as the topk.
    """
    most = max(len(part.ids) for part in rows.parts)
    width = -(-min(most, CHUNK_ROWS) // GROUP) * GROUP
    buffer = torch.empty(len(rough.queries), width, device=rough.queries.device)
    for place, part, first, size in _chunks(rows.parts):
        scores = buffer[:, : -(-size // GROUP) * GROUP]
        for begin, tile in _tiles(part, first, size, rough.centre):
            scores[:, begin : begin + len(tile)] = rough.queries @ tile.to(rough.queries.dtype).T
        scores[:, size:] = -torch.inf
        scores.index_fill_(1, _dead(part, first, size), -torch.inf)
        yield place, part, first, scores


def _dead(part: Part, first: int, size: int) -> Tensor:
    low, high = torch.searchsorted(part.dead, torch.tensor([first, first + size]).to(part.dead))
    return part.dead[low:high] - first


def _sums(part: Part, first: int, scores: Tensor, middle: Tensor | None) -> Tensor:
    """Sums (2, Q) float64 of scores less `middle`, and of their squares; without those of -inf."""
    size = min(len(part.ids) - first, CHUNK_ROWS)
    if middle is not None:
        scores = scores - middle.unsqueeze(1)
    if scores.shape[1] != size or len(_dead(part, first, size)):
        scores = torch.where(scores == -torch.inf, 0.0, scores)
    groups = scores.view(len(scores), scores.shape[1] // GROUP, GROUP)
    # Float32 within groups, where sums are short, and float64 over them.
    squares = torch.linalg.vector_norm(groups, dim=-1).double().square().sum(1)
    return torch.stack([groups.sum(-1).double().sum(1), squares])


def _largest(scores: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """Values and places (Q, min(wanted, width)) of the largest scores.

    The `wanted` largest lie in the `wanted` groups with the largest maxima, so that most scores
    are looked at once.
    """
    groups = scores.view(len(scores), scores.shape[1] // GROUP, GROUP)
    if groups.shape[1] <= wanted:
        values, at = scores.topk(min(wanted, scores.shape[1]))
        return values, at
    chosen = groups.amax(-1).topk(wanted).indices
    inside = groups.gather(1, chosen.unsqueeze(-1).expand(-1, -1, GROUP)).flatten(1)
    values, at = inside.topk(wanted)
    return values, chosen.gather(1, at // GROUP) * GROUP + at % GROUP


def _settle(rows: Rows, queries: Tensor, ids: Tensor, scores: Tensor, doubtful: Tensor) -> None:
    """Put the exact answer of each doubtful query into `ids` and `scores`, by a second scan.

    The k-th score known so far is at most the true one, so every row of the answer reaches it.
    """
    which = doubtful.nonzero().squeeze(1)
    if not len(which):
        return
    digits, rough = digits_of(queries[which]), _Rough(rows, queries[which], torch.float32)
    step = max(1, EXACT_ELEMENTS // queries.shape[1])
    for _, part, first, rated in _rough_scores(rows, rough):
        near = rated.double() >= rough.at_least(scores[which, -1]).unsqueeze(1)
        for i in near.any(1).nonzero().squeeze(1).tolist():
            for at in torch.split(near[i].nonzero().squeeze(1), step):
                _insert(ids[which[i]], scores[which[i]], part, first + at, digits[i])


def _insert(ids: Tensor, scores: Tensor, part: Part, at: Tensor, digits: Tensor) -> None:
    """Let the rows `at` of a part compete for one query's answer, ids (k,) and scores (k,)."""
    at = at[~torch.isin(part.ids[at], ids)]
    every = torch.cat([scores, inner(part.rows[at], digits)])
    ids[:], scores[:] = rank(every, torch.cat([ids, part.ids[at]]), len(ids))
