"""Select the rows with the best rough scores from a stream of scores.

A score is looked at once, as one of a group of neighbours: only a group whose largest score is
above the query's threshold is looked into.  The threshold is the score of the last of the
candidates wanted, and rises as they are found, so that soon almost no group is above it.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 16  # rows, neighbours in the index
# Above this share of groups the threshold is no use, as in the first tile.
CROWDED = 0.25
POOL = 4  # times the candidates wanted are kept before all but the best are dropped


class TopRows:
    """The `wanted` best rows of each query: `offer` all scores, then take the `best`."""

    def __init__(self, queries: int, wanted: int, device: torch.device) -> None:
        """For so many queries, on `device`."""
        self.wanted = wanted
        self._threshold = torch.full((queries,), -torch.inf, device=device)
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        self._parts = [(self._threshold[:0], nothing, nothing)]
        self._count, self._most = 0, wanted * queries

    def offer(self, scores: Tensor, place: int) -> None:
        """Look at `scores` (n, Q) float32 of the rows at `place` and after.

        n is a multiple of `GROUP`.  A score of -inf stands for no row.
        """
        groups = scores.view(-1, GROUP, scores.shape[1])
        largest = groups.amax(1)
        group, query = (largest > self._threshold).nonzero(as_tuple=True)
        if group.shape[0] > CROWDED * largest.numel():
            self._raise(scores, largest)
            group, query = (largest > self._threshold).nonzero(as_tuple=True)
        if group.shape[0]:
            inside = groups[group, :, query]
            hit, at = (inside > self._threshold[query].unsqueeze(1)).nonzero(as_tuple=True)
            self._parts.append((inside[hit, at], query[hit], group[hit] * GROUP + at + place))
            self._count += hit.shape[0]
            if self._count >= self._most:
                self._drop()

    def _raise(self, scores: Tensor, largest: Tensor) -> None:
        """Lift the thresholds to just below the last of the `wanted` best of these scores alone.

        Or, where that is enough to look into few groups, of the best scores of different groups.
        """
        some = largest if len(largest) >= 2 * self.wanted else scores
        if len(some) >= self.wanted:
            last = some.topk(self.wanted, dim=0).values[-1]
            below = torch.nextafter(last, torch.full_like(last, -torch.inf))
            self._threshold = torch.maximum(self._threshold, below)

    def best(self) -> tuple[Tensor, Tensor]:
        """Scores and places (Q, wanted), best first; every other row's score is at most the last.

        At least `wanted` rows must have been offered to each query.
        """
        values, query, places = (torch.cat(column) for column in zip(*self._parts, strict=True))
        order = query.argsort()
        counts = torch.bincount(query, minlength=len(self._threshold))
        first = counts.cumsum(0) - counts
        at = torch.arange(len(order), device=order.device) - first[query[order]]
        ragged = torch.full((len(counts), int(counts.max())), -torch.inf, device=order.device)
        ragged[query[order], at] = values[order]
        best, which = ragged.topk(min(self.wanted, ragged.shape[1]))
        return best, places[order[(first.unsqueeze(1) + which).clamp(max=len(order) - 1)]]

    def _drop(self) -> None:
        best, places = self.best()
        if best.shape[1] == self.wanted:
            self._threshold = best[:, -1].clone()
        query = torch.arange(len(best), device=best.device).unsqueeze(1).expand_as(places)
        real = best > -torch.inf
        self._parts = [(best[real], query[real], places[real])]
        self._count, self._most = len(self._parts[0][0]), POOL * self.wanted * len(best)
