"""Exact scores, rounded only once, and the order that they give.

A float16 is a multiple of 2^-24 and a query is rounded to multiples of 2^-36, split into two halves
of 18 bits: both sums of products then fit into the 53 bits of a float64.  No order of summation,
batch size, layout or device changes a bit of the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

HIGH_BITS, QUERY_BITS = 18, 36
EXACT_ELEMENTS = 2**19  # multiplied at a time: 4 MiB of float64 stay in a cache


@dataclass(frozen=True)
class RowBlock:
    """One stretch of rows.  `dead` rows are skipped; their id does not matter."""

    rows: Tensor  # (n, D) float16, unit norm
    ids: Tensor  # (n,) int64
    dead: Tensor  # (m,) int64, ascending
    total: Tensor  # (D,) float64 on the CPU, sum of the rows that are not dead


def digits_of(queries: Tensor) -> Tensor:
    """Queries (Q, D) as (Q, D, 2) float64: multiples of 2^-18, and of 2^-36 for the rest."""
    high = (queries * 2.0**HIGH_BITS).round() * 2.0**-HIGH_BITS
    low = ((queries - high) * 2.0**QUERY_BITS).round() * 2.0**-QUERY_BITS
    return torch.stack([high, low], dim=-1)


def inner(rows: Tensor, digits: Tensor) -> Tensor:
    """Exact inner products (..., n) float64 of rows (..., n, D) with a query's digits (..., D, 2).

    Rounded once, when the two halves are added.
    """
    # By way of float32, which torch converts several times faster.
    return (rows.float().double() @ digits).sum(-1)


def exact_scores(
    parts: Sequence[RowBlock], places: Tensor, digits: Tensor
) -> tuple[Tensor, Tensor]:
    """Exact scores (Q, C) float64 and ids (Q, C) of the rows at `places` (Q, C)."""
    scores = torch.empty(places.shape, dtype=torch.float64, device=places.device)
    ids = torch.empty_like(places)
    step = max(1, EXACT_ELEMENTS // (places.shape[1] * digits.shape[1]))
    for first in range(0, len(places), step):
        some = slice(first, first + step)
        rows, ids[some] = gather(parts, places[some])
        scores[some] = inner(rows, digits[some])
    return scores, ids


def gather(parts: Sequence[RowBlock], places: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (*places.shape, D) float16 and ids (places.shape) at places among all rows."""
    rows = parts[0].rows.new_empty(*places.shape, parts[0].rows.shape[1])
    ids = torch.empty_like(places)
    start = 0
    for part in parts:
        here = (places >= start) & (places < start + len(part.ids))
        at = places[here] - start
        rows[here], ids[here] = part.rows[at], part.ids[at]
        start += len(part.ids)
    return rows, ids


def rank(scores: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row: ids, scores; largest score first, smaller id first among equals."""
    by_id = ids.argsort(dim=-1)
    scores, ids = scores.gather(-1, by_id), ids.gather(-1, by_id)
    order = scores.argsort(dim=-1, descending=True, stable=True)[..., :k]
    return ids.gather(-1, order), scores.gather(-1, order)
