"""From the ranks of right origins to a table, one row per generating model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wherefrom.metrics import retrieval
from wherefrom.origin.answers import ModelRow
from wherefrom.origin.matching import Standing

CURVE = (1, 5, 10, 100)


def rank_of(standing: Standing, right: Tensor) -> int:
    """Rank of the best placed right image; equal scores of others rank before it."""
    mine = torch.isin(standing.ids, right)
    first = int(mine.nonzero()[0])
    others = ~mine & (standing.scores == standing.scores[first])
    others[:first] = ~mine[:first]
    return int(others.sum()) + 1


def rows_of(
    models: Sequence[str],
    ranks: Sequence[int],
    right: Sequence[bool],
    p_values: Sequence[float],
    rate: float | None,
) -> tuple[ModelRow, ...]:
    """A row for all queries, and one for each of the `models`; `right`: is the first one right."""
    groups = {"all": range(len(ranks))} | {
        model: [i for i, name in enumerate(models) if name == model] for model in sorted({*models})
    }
    rows = []
    for model, chosen in groups.items():
        some = torch.tensor([ranks[i] for i in chosen])
        called = [i for i in chosen if rate is not None and p_values[i] <= rate]
        rows.append(
            ModelRow(
                model,
                len(some),
                retrieval.mean_average_precision(some),
                retrieval.accuracy(some),
                dict(zip(CURVE, retrieval.rank_curve(some, CURVE), strict=True)),
                None if rate is None else sum(right[i] for i in called) / len(some),
                None if rate is None else sum(not right[i] for i in called) / len(some),
            )
        )
    return tuple(rows)
