"""How the parts of a row are weighed against each other, from the index alone.

Cosines of different encoders are spread differently.  A part counts by the inverse of the deviation
of its cosines between pictures of the index; so the weight is in deviations, needs no pairs, and is
the same for every query: the test stays conformal.  Deviations are taken from the median and the
ninth decile, which near-duplicates in the index hardly move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.compute.passes import one_thread
from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.rows import split_parts

SAMPLE = 256  # pictures whose pairs are looked at
TO_DECILE = 1.2816  # deviations of a normal distribution from its median to its ninth decile


@dataclass(frozen=True)
class JointScale:
    """Weights of the parts of a row; median and deviation of the joint score of two pictures.

    The joint score is the sum of the cosines of the parts by their weights.
    """

    widths: tuple[int, ...]
    weights: tuple[float, ...]
    centre: float
    spread: float

    def weighed(self, rows: Tensor) -> Tensor:
        """Rows of queries (N, D) with their parts weighed; unchanged where there is one part."""
        if len(self.widths) == 1:
            return rows
        parts = split_parts(rows, self.widths)
        return torch.cat([w * part for w, part in zip(self.weights, parts, strict=True)], dim=1)

    @property
    def to_mean(self) -> float:
        """What turns the score of a search into the weighed mean of the cosines of the parts."""
        if len(self.widths) == 1:
            return 1.0
        # A stored row has unit norm, its parts 1 / sqrt(2) each; a query's row has unit norm.
        return math.sqrt(len(self.widths)) * math.hypot(*self.weights) / sum(self.weights)

    def deviations(self, rows: Tensor, others: Tensor) -> Tensor:
        """How far (N, M) the joint scores of rows (N, D) and others (M, D) are above the median."""
        with one_thread():
            cosines = [
                a @ b.T
                for a, b in zip(
                    split_parts(rows, self.widths), split_parts(others, self.widths), strict=True
                )
            ]
        joint = torch.stack([w * c for w, c in zip(self.weights, cosines, strict=True)]).sum(0)
        return (joint - self.centre) / self.spread


def measure_scale(index: Index, widths: Sequence[int], feature_weight: float) -> JointScale:
    """The scale of an index, from the pairs of at most `SAMPLE` of its pictures."""
    ids = index.live_ids()
    count = min(len(ids), SAMPLE)
    some = ids[torch.linspace(0, len(ids) - 1, count).round().long()] if count else ids
    asked = (1.0, feature_weight)[: len(widths)]
    parts = split_parts(index.vectors(some.tolist()), widths)
    pairs = ~torch.eye(count, dtype=torch.bool)
    with one_thread():
        cosines = [(part @ part.T)[pairs] for part in parts]
    if count < 3:
        return JointScale(tuple(widths), asked, 0.0, math.inf)
    spreads = [_centre_and_spread(cosine)[1] or 1.0 for cosine in cosines]
    weights = tuple(w / spread for w, spread in zip(asked, spreads, strict=True))
    joint = torch.stack([w * c for w, c in zip(weights, cosines, strict=True)]).sum(0)
    centre, spread = _centre_and_spread(joint)
    return JointScale(tuple(widths), weights, centre, spread or math.inf)


def _centre_and_spread(values: Tensor) -> tuple[float, float]:
    """Median, and the deviation of a normal distribution with the same ninth decile."""
    median, decile = torch.quantile(values, values.new_tensor([0.5, 0.9])).tolist()
    return median, (decile - median) / TO_DECILE
