"""How the parts of a row are weighed against each other, from the index alone.

Cosines of different encoders are spread differently.  A part counts by the inverse of the deviation
of its cosines between pictures of the index; so the weight is in deviations, needs no pairs, and is
the same for every query: the test stays conformal.
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


@dataclass(frozen=True)
class JointScale:
    """Weights of the parts of a row; mean and deviation of the joint score of two pictures.

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

    def deviations(self, rows: Tensor, others: Tensor) -> Tensor:
        """How far (N, M) the joint scores of rows (N, D) and others (M, D) are above the mean."""
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
    spreads = [float(cosine.std()) or 1.0 for cosine in cosines]
    weights = tuple(w / spread for w, spread in zip(asked, spreads, strict=True))
    joint = torch.stack([w * c for w, c in zip(weights, cosines, strict=True)]).sum(0)
    return JointScale(tuple(widths), weights, float(joint.mean()), float(joint.std()) or math.inf)
