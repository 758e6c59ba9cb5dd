"""The candidates of a query, best first, over all its views, and re-ranked if asked for.

A candidate's score is how many deviations its cosine lies above the mean of the index, in the view
in which it does so most.  Re-ranking adds to the scores of the first 64 what their files say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.encoders import Encoder
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.result import SearchResult
from wherefrom.origin.reranking import views
from wherefrom.origin.reranking.scores import DEPTH, Originals, rerank
from wherefrom.origin.reranking.spatial import Alignment
from wherefrom.origin.scanning.scan import ScanStatistics
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.decision import moments_without
from wherefrom.origin.searching.reader import faults


@dataclass(frozen=True, eq=False)
class RankedCandidates:
    """One query's candidates, best first, each image once; ties by smaller id.

    `cosines` are those of the view in which the candidate does best.  `alignments` by id, of the
    candidates that were compared again; `unread`: path and reason of those that could not be.
    """

    ids: Tensor  # (m,) int64
    scores: Tensor  # (m,) float64, deviations
    cosines: Tensor  # (m,) float64
    alignments: dict[int, Alignment]
    unread: tuple[tuple[str, str], ...]


class Searcher(Protocol):
    """Finds the most similar images of queries (Q, D)."""

    def search(self, queries: Tensor, k: int) -> SearchResult:
        """As `Index.search`."""
        ...


@dataclass(frozen=True, eq=False)
class Matcher:
    """Ranks the images of an index for queries, by the settings of a search.

    `searcher`: the index, or an accelerator over it.
    """

    searcher: Searcher
    index: Index
    encoder: Encoder
    edit_map: FittedEditMap | None
    config: SearchConfig
    originals: Originals

    def rank(
        self, images: Tensor, k: int = DEPTH, *, left_out: Sequence[Tensor] | None = None
    ) -> list[RankedCandidates | str]:
        """The k best candidates of each image (N, 3, 256, 256), or why it cannot be compared.

        As if the images of the index with the ids `left_out` (one tensor per query) were not there,
        which also holds for means and deviations.  Fewer than 20 others are an `InputError`.
        """
        frames = self.frames(images)
        none = torch.zeros(0, dtype=torch.int64)
        out = [none] * len(images) if left_out is None else left_out
        queries, rankings = self._queries(frames)
        usable = list(queries)
        if not usable:
            return rankings
        most = max(k, DEPTH) + max((len(ids) for ids in out), default=0)
        result = self.searcher.search(torch.cat([*queries.values()]), min(most, self.index.count()))
        count = views.count(self.config.views)
        for place, row in enumerate(usable):
            mine = slice(place * count, (place + 1) * count)
            stored = self.index.vectors(out[row].tolist()).double()
            own = F.normalize(queries[row].double().cpu()) @ stored.T
            ranking = merge(result, mine, out[row], own, max(k, DEPTH))
            rankings[row] = _first(self._reranked(ranking, frames[row]), k)
        return rankings

    def _queries(self, frames: Tensor) -> tuple[dict[int, Tensor], list[RankedCandidates | str]]:
        """The views of each usable query, by its row; and for every query why it is not, or ""."""
        reasons: list[RankedCandidates | str] = [*faults(frames)]
        looks: dict[int, Tensor] = {}
        for row in [row for row, reason in enumerate(reasons) if not reason]:
            looks[row] = self._look(frames[row])
            reasons[row] = max(faults(looks[row]))
        rows = [row for row, reason in enumerate(reasons) if not reason]
        if not rows:
            return {}, reasons
        rows_of_all = self.project(torch.cat([looks[row] for row in rows]))
        projected = torch.split(rows_of_all, len(looks[rows[0]]))
        queries = {}
        for row, views_of_it in zip(rows, projected, strict=True):
            reasons[row] = max(faults(views_of_it))
            if not reasons[row]:
                queries[row] = views_of_it
        return queries, reasons

    def frames(self, images: Tensor) -> Tensor:
        """Latents (N, F, c, h, w) of images and, where a view or re-ranking needs it, mirrored."""
        upright = self.encoder.latents(images)
        if self.config.views == views.NONE and not self.config.rerank:
            return upright[:, None]
        return torch.stack([upright, self.encoder.latents(images.flip(-1))], dim=1)

    def project(self, embeddings: Tensor) -> Tensor:
        """What the index holds of these embeddings."""
        return embeddings if self.edit_map is None else self.edit_map.project(embeddings)

    def _look(self, frames: Tensor) -> Tensor:
        blank = None if self.edit_map is None else self.edit_map.mean
        return views.look(frames, self.config.views, blank)

    def _reranked(self, ranking: RankedCandidates, frames: Tensor) -> RankedCandidates:
        if not self.config.rerank:
            return ranking
        first = ranking.ids[:DEPTH]
        added, alignments, unread = rerank(frames, first.tolist(), self.index, self.originals)
        scores = ranking.scores.clone()
        scores[: len(first)] += added
        # Those behind stay behind: nothing is known of them that could be added.
        order = torch.cat(
            [
                scores[: len(first)].argsort(descending=True, stable=True),
                torch.arange(len(first), len(scores)),
            ]
        )
        return RankedCandidates(
            ranking.ids[order], scores[order], ranking.cosines[order], alignments, unread
        )


def merge(
    result: SearchResult, rows: slice, left_out: Tensor, own: Tensor, k: int
) -> RankedCandidates:
    """One query's views as one list of k candidates.

    `rows`: the query's views (V) in `result`; `own` (V, n): scores of the n ids `left_out`.
    Exact: the k best of all views together are among the k best of each.
    """
    whole = result.statistics
    spread = ScanStatistics(whole.mean[rows], whole.std[rows], whole.count)
    mean, std = moments_without(spread, own)
    ids, cosines = result.ids[rows], result.scores[rows]
    scores = ((cosines - mean[:, None]) / std[:, None]).nan_to_num(0.0)
    counts = ~torch.isin(ids, left_out) & cosines.isfinite()  # an accelerator may find fewer
    ids, cosines, scores = ids[counts], cosines[counts], scores[counts]
    order = ids.argsort(stable=True)
    order = order[scores[order].argsort(descending=True, stable=True)]
    seen: dict[int, int] = {}
    for place, image in zip(order.tolist(), ids[order].tolist(), strict=True):
        seen.setdefault(image, place)
        if len(seen) == k:
            break
    chosen = torch.tensor(list(seen.values()), dtype=torch.int64)
    return RankedCandidates(ids[chosen], scores[chosen], cosines[chosen], {}, ())


def _first(ranking: RankedCandidates, k: int) -> RankedCandidates:
    ids, scores, cosines = (row[:k] for row in (ranking.ids, ranking.scores, ranking.cosines))
    return replace(ranking, ids=ids, scores=scores, cosines=cosines)
