"""The exact nearest rows of a query among all rows, and how its scores are spread over all of them.

Every row is scored once, roughly.  The rows with the best rough scores are scored again, exactly.
A bound on the rough error then proves that no other row belongs to the answer; a query for which it
cannot, because many rows are nearly equal, is scanned a second time and every row within the bound
is scored exactly.  So the answer is the exact one, not one that is exact most of the time.

The mean of a query's scores is its inner product with the mean row, in float64.  The spread comes
from the rough scores; see `STD_TOLERANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.compute.passes import full_precision
from wherefrom.origin.index.scanning.exact import (
    EXACT_ELEMENTS,
    RowBlock,
    digits_of,
    exact_scores,
    inner,
    rank,
)
from wherefrom.origin.index.scanning.rough import Rough, Rows, Tile, dtype_for
from wherefrom.origin.index.scanning.top_rows import TopRows

QUERY_BLOCK = 1024  # queries per pass over the rows
MIN_CANDIDATES = 64
# How far the reported standard deviation may be from that of the exact scores, relative to it,
# and hence how far two layouts or batch sizes may differ.  Roundings of single scores are nearly
# independent, so that they hardly add to the spread; the largest error seen in tests is 4e-4.
# Where all scores are nearly equal, float32 scores leave an absolute error instead.
STD_TOLERANCE, STD_FLOOR = 1e-3, 1e-6


@dataclass(frozen=True)
class ScanStatistics:
    """How the scores of each query are spread over all rows.

    `mean` is that of the exact scores.  `std` (divided by the count, not by one less) comes from
    rounded scores: see `STD_TOLERANCE`.
    """

    mean: Tensor  # (Q,) float64
    std: Tensor  # (Q,) float64
    count: int  # of rows


def scan(rows: Rows, queries: Tensor, k: int) -> tuple[Tensor, Tensor, ScanStatistics]:
    """Ids (Q, k) int64, exact scores (Q, k) float64, statistics; best first, ties by smaller id.

    `queries`: (Q, D) float64 at unit norm, on the CPU; the work is done where the rows are.
    At least k rows must be alive.  All results are on the CPU.
    """
    if not len(queries):
        nothing = queries.new_empty(0)
        return (
            torch.empty(0, k, dtype=torch.int64),
            nothing.expand(k, 0).T,
            ScanStatistics(nothing, nothing, rows.count),
        )
    dtype = dtype_for(rows, len(queries))
    with full_precision(rows.device):
        blocks = [_scan_block(rows, some, k, dtype) for some in torch.split(queries, QUERY_BLOCK)]
    ids, scores, std = (torch.cat(columns).cpu() for columns in zip(*blocks, strict=True))
    return ids, scores, ScanStatistics((queries * rows.mean).sum(1), std, rows.count)


def _scan_block(
    rows: Rows, queries: Tensor, k: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    rough = Rough(rows, queries, dtype)
    queries = queries.to(rows.device)
    wanted = min(max(MIN_CANDIDATES, 4 * k), rows.count)
    candidates: dict[int, TopRows] = {}
    sums = torch.zeros(2, len(queries), dtype=torch.float64, device=rows.device)
    for tile, some, rated in rough.scores():
        if some.start not in candidates:
            candidates[some.start] = TopRows(rated.shape[1], wanted, rows.device)
        candidates[some.start].offer(rated, tile.place)
        sums[:, some] += _sums(rated, tile)
    columns = zip(*(top.best() for top in candidates.values()), strict=True)
    best, places = (torch.cat(column) for column in columns)
    ids, scores = rank(*exact_scores(rows.parts, places, digits_of(queries)), k)
    if wanted < rows.count:
        _settle(rows, queries, ids, scores, scores[:, -1] <= rough.at_most(best[:, -1]))
    mean, square = sums / rows.count
    return ids, scores, (square - mean.square()).clamp(min=0).sqrt()


def _sums(scores: Tensor, tile: Tile) -> Tensor:
    """Sums (2, Q) float64 of scores, and of their squares; without those of -inf.

    `scores` is written over.
    """
    scores.index_fill_(0, tile.gone, 0.0)
    return torch.stack([scores.sum(0), scores.square_().sum(0)]).double()


def _settle(rows: Rows, queries: Tensor, ids: Tensor, scores: Tensor, doubtful: Tensor) -> None:
    """Put the exact answer of each doubtful query into `ids` and `scores`, by a second scan.

    The k-th score known so far is at most the true one, so every row of the answer reaches it.
    """
    which = doubtful.nonzero().squeeze(1)
    if not len(which):
        return
    digits, rough = digits_of(queries[which]), Rough(rows, queries[which].cpu(), torch.float32)
    step = max(1, EXACT_ELEMENTS // queries.shape[1])
    enough = rough.at_least(scores[which, -1])
    for tile, some, rated in rough.scores():
        near = rated.double() >= enough[some]
        for i in near.any(0).nonzero().squeeze(1).tolist():
            query = some.start + i
            for at in torch.split(near[:, i].nonzero().squeeze(1), step):
                where, image = which[query], tile.first + at
                _insert(ids[where], scores[where], tile.part, image, digits[query])


def _insert(ids: Tensor, scores: Tensor, part: RowBlock, at: Tensor, digits: Tensor) -> None:
    """Let the rows `at` of a part compete for one query's answer, ids (k,) and scores (k,)."""
    at = at[~torch.isin(part.ids[at], ids)]
    every = torch.cat([scores, inner(part.rows[at], digits)])
    ids[:], scores[:] = rank(every, torch.cat([ids, part.ids[at]]), len(ids))
