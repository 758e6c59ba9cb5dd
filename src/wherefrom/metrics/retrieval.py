"""Retrieval metrics for one right answer per query, computed from its rank.

With one relevant item average precision is 1 / rank, and accuracy is the share of ranks equal to 1
(Wang et al.: Generalizable Origin Identification, Section 3).  Ties count against the method.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wherefrom.core.errors import InputError


def worst_ranks(scores: Tensor, right: Tensor) -> Tensor:
    """Rank of the right item per query, 1 the best, (Q,) int64.

    `scores` (Q, N) of all items, `right` (Q,) the index of the right one; equal scores rank before.
    """
    own = scores.gather(1, right[:, None])
    return (scores >= own).sum(dim=1)


def mean_average_precision(ranks: Tensor) -> float:
    """Mean of 1 / rank."""
    return float((1 / _checked(ranks).double()).mean())


def accuracy(ranks: Tensor) -> float:
    """Share of queries whose right item comes first."""
    return float((_checked(ranks) == 1).double().mean())


def rank_curve(ranks: Tensor, at: Sequence[int]) -> tuple[float, ...]:
    """Share of queries whose right item is among the first k, for each k."""
    checked = _checked(ranks)
    return tuple(float((checked <= k).double().mean()) for k in at)


def _checked(ranks: Tensor) -> Tensor:
    if ranks.ndim != 1 or not len(ranks) or int(ranks.min()) < 1:
        raise InputError("ranks must be at least one whole number per query, from 1 up")
    return ranks
