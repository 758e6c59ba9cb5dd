"""The candidates of a query, best first, over all its views, and re-ranked if asked for.

A candidate's score is how many deviations its cosine lies above the mean of the index, in the view
in which it does so most.  Where the index holds features, the cosine is the weighed sum of those of
both parts.  Re-ranking adds to the scores of the first 64 what their files say.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.encoders import Encoder, FeatureNetwork
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.result import SearchResult
from wherefrom.origin.index.scanning.scan import ScanStatistics
from wherefrom.origin.joint.rows import RowEncoder, split_parts
from wherefrom.origin.joint.scale import JointScale, measure_scale
from wherefrom.origin.joint.series import SeriesFinder, series_among
from wherefrom.origin.other_indexes.accelerator import Accelerator
from wherefrom.origin.reranking import views
from wherefrom.origin.reranking.scores import DEPTH, JOINT_WEIGHT, WEIGHT, Originals, rerank
from wherefrom.origin.reranking.spatial import Alignment
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.copies import CopyHashes
from wherefrom.origin.searching.decision import measure_prominence, moments_without
from wherefrom.origin.searching.reader import faults

SHOWN = 10  # candidates of an answer


@dataclass(frozen=True, eq=False)
class RankedCandidates:
    """One query's candidates, best first, each image once; ties by smaller id.

    `cosines` are those of the view in `views` in which a candidate does best.  `alignments`: by id,
    of candidates that were compared again; `unread`: path and reason of those that could not be.
    `series`: ids of the candidates that are near-duplicates of the first.  `parts`: the cosine of
    each part of a row, of the first candidates; empty where a row has one part.
    """

    ids: Tensor  # (m,) int64
    scores: Tensor  # (m,) float64, deviations
    cosines: Tensor  # (m,) float64
    views: Tensor  # (m,) int64
    alignments: dict[int, Alignment]
    unread: tuple[tuple[str, str], ...]
    series: tuple[int, ...] = ()
    parts: tuple[tuple[float, ...], ...] = ()

    def prominence(self, statistic: str) -> float:
        """How far the best match, or its series, stands out from the others.  Larger = more so."""
        others = ~torch.isin(self.ids, torch.tensor(self.series, dtype=torch.int64))
        return measure_prominence(self.scores[others], statistic)


@dataclass(frozen=True, eq=False)
class Matcher:
    """Ranks the images of an index for queries, by the settings of a search.

    `searcher`: the index, or an accelerator over it.
    """

    searcher: Index | Accelerator
    index: Index
    encoder: Encoder
    edit_map: FittedEditMap | None
    config: SearchConfig
    originals: Originals
    features: FeatureNetwork | None = None

    @functools.cached_property
    def rows(self) -> RowEncoder:
        """What makes the rows of the index and of queries."""
        return RowEncoder(self.encoder, self.edit_map, self.features)

    @functools.cached_property
    def scale(self) -> JointScale:
        """How the parts of a row are weighed, as the index was at the first search."""
        asked = self.config.feature_weight
        widths = (self.index.dim,) if self.features is None else self.rows.widths
        return measure_scale(self.index, widths, self.rows.weight if asked is None else asked)

    def finder(self, hashes: CopyHashes | None) -> SeriesFinder:
        """What finds the series of a picture of the index."""
        return SeriesFinder(self.index, self.scale, None if hashes is None else hashes.alike)

    def rank(
        self, images: Tensor, k: int = DEPTH, *, left_out: Sequence[Tensor] | None = None
    ) -> list[RankedCandidates | str]:
        """The k best candidates of each image (N, 3, 256, 256), or why it cannot be compared.

        As if the images of the index with the ids `left_out` (one tensor per query) were not there,
        which also holds for means and deviations.  Fewer than 20 others are an `InputError`.
        """
        frames = self.frames(images)
        out = left_out or [torch.zeros(0, dtype=torch.int64)] * len(images)
        queries, rankings = self._queries(frames, images)
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
            ranking = self._reranked(merge(result, mine, out[row], own, max(k, DEPTH)), frames[row])
            series = series_among(ranking.ids[:DEPTH], self.index, self.scale)
            parts = self._parts(ranking, queries[row])
            rankings[row] = replace(
                _first(ranking, k),
                cosines=ranking.cosines[:k] * self.scale.to_mean,
                series=series,
                parts=parts,
            )
        return rankings

    def _parts(self, ranking: RankedCandidates, query: Tensor) -> tuple[tuple[float, ...], ...]:
        """The cosines of the parts of the first candidates with the views in which they do best."""
        widths = self.scale.widths
        if len(widths) == 1:
            return ()
        stored = split_parts(self.index.vectors(ranking.ids[:SHOWN].tolist()), widths)
        asked = split_parts(query.cpu()[ranking.views[:SHOWN]], widths)
        cosines = [(a * b).sum(1).tolist() for a, b in zip(stored, asked, strict=True)]
        return tuple(zip(*cosines, strict=True))

    def _queries(
        self, frames: Tensor, images: Tensor
    ) -> tuple[dict[int, Tensor], list[RankedCandidates | str]]:
        """The views of each usable query, by its row; and for every query why it is not, or ""."""
        reasons: list[RankedCandidates | str] = [*faults(frames)]
        looks: dict[int, Tensor] = {}
        blank = None if self.edit_map is None else self.edit_map.mean
        for row in [row for row, reason in enumerate(reasons) if not reason]:
            looks[row] = views.look(frames[row], self.config.views, blank)
            reasons[row] = max(faults(looks[row]))
        rows = [row for row, reason in enumerate(reasons) if not reason]
        if not rows:
            return {}, reasons
        count = len(looks[rows[0]])
        embeddings = torch.cat([looks[row] for row in rows])
        if self.features is not None:
            described = self._described(images[rows], frames.shape[1], count)
            embeddings = torch.cat([embeddings, described], dim=1)
        projected = self.scale.weighed(self.rows.project(embeddings))
        queries = dict(zip(rows, torch.split(projected, count), strict=True))
        for row in rows:
            reasons[row] = max(faults(queries[row]))
        return {row: query for row, query in queries.items() if not reasons[row]}, reasons

    def _described(self, images: Tensor, frames: int, count: int) -> Tensor:
        """Features of the `count` views of each image: those of the frame that each is made of."""
        ways = [self.rows.describe(images)]
        if frames > 1:
            ways.append(self.rows.describe(images.flip(-1)))
        by_view = torch.stack([ways[view % frames] for view in range(count)], dim=1)
        return by_view.flatten(0, 1)

    def frames(self, images: Tensor) -> Tensor:
        """Latents (N, F, c, h, w) of images and, where a view or re-ranking needs it, mirrored."""
        upright = self.encoder.latents(images)
        if self.config.views == views.NONE and not self.config.rerank:
            return upright[:, None]
        return torch.stack([upright, self.encoder.latents(images.flip(-1))], dim=1)

    def _reranked(self, ranking: RankedCandidates, frames: Tensor) -> RankedCandidates:
        if not self.config.rerank:
            return ranking
        first = ranking.ids[:DEPTH]
        added, alignments, unread = rerank(
            frames,
            first.tolist(),
            self.index,
            self.originals,
            weight=WEIGHT if self.features is None else JOINT_WEIGHT,
        )
        scores = ranking.scores.clone()
        scores[: len(first)] += added
        # Those behind stay behind: nothing is known of them that could be added.
        best_first = scores[: len(first)].argsort(descending=True, stable=True)
        order = torch.cat([best_first, torch.arange(len(first), len(scores))])
        return RankedCandidates(
            ranking.ids[order],
            scores[order],
            ranking.cosines[order],
            ranking.views[order],
            alignments,
            unread,
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
    view = torch.arange(len(ids))[:, None].expand_as(ids)
    ids, cosines, scores, view = ids[counts], cosines[counts], scores[counts], view[counts]
    order = ids.argsort(stable=True)
    order = order[scores[order].argsort(descending=True, stable=True)]
    seen: dict[int, int] = {}
    for place, image in zip(order.tolist(), ids[order].tolist(), strict=True):
        seen.setdefault(image, place)
        if len(seen) == k:
            break
    chosen = torch.tensor(list(seen.values()), dtype=torch.int64)
    return RankedCandidates(ids[chosen], scores[chosen], cosines[chosen], view[chosen], {}, ())


def _first(ranking: RankedCandidates, k: int) -> RankedCandidates:
    columns = {name: getattr(ranking, name)[:k] for name in ("ids", "scores", "cosines", "views")}
    return replace(ranking, **columns)
