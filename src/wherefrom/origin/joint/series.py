"""Series of near-duplicates in an index: bursts, crops and variants of one scene.

Two pictures are near-duplicates if their joint score stands out among pairs of the index as an edit
stands out beside its origin, or if their perceptual hashes differ in few bits.  A series is what
hangs together by such pairs.  An edit of one picture of a series looks like the others, so a series
is one answer, and a calibration leaves out the whole series of an origin.

At most one pair in 36 can lie 6 deviations above the mean (Chebyshev), so that a collection of
pictures that are all alike does not become one series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.scale import JointScale
from wherefrom.origin.searching.copies import CopyHashes

NEAR = 6.0  # deviations
NEIGHBOURS = 64  # of one picture that are looked at
MAX_SERIES = 256  # pictures


@dataclass(frozen=True, eq=False)
class SeriesFinder:
    """Finds the series of pictures of an index."""

    index: Index
    scale: JointScale
    hashes: CopyHashes | None = None

    def around(self, ids: Sequence[int]) -> list[int]:
        """These ids and those of all pictures in their series, by exact scans of the index."""
        series, fresh = set(ids), sorted(ids)
        while fresh and len(series) < MAX_SERIES:
            near = {image for row in self._neighbours(fresh) for image in row}
            fresh = sorted(near - series)
            series |= near
        return sorted(series)

    def _neighbours(self, ids: Sequence[int]) -> list[list[int]]:
        rows = self.index.vectors(ids)
        nearest = self.index.search(self.scale.weighed(rows), NEIGHBOURS).ids
        found = []
        for image, row, others in zip(self.index.get(ids), rows, nearest, strict=True):
            far = self.scale.deviations(row[None], self.index.vectors(others.tolist()))[0]
            alike = [] if self.hashes is None else self.hashes.alike(image.digest)
            copies = [twin.id for digest in alike for twin in self.index.twins(digest)]
            found.append([*others[far >= NEAR].tolist(), *copies])
        return found


def series_among(ids: Tensor, index: Index, scale: JointScale) -> tuple[int, ...]:
    """The ids, of those given, in the series of the first of them, without itself."""
    rows = index.vectors(ids.tolist())
    near = scale.deviations(rows, rows) >= NEAR
    inside = near[0].clone()
    inside[0] = True
    while not bool((grown := near[inside].any(0) | inside).equal(inside)):
        inside = grown
    return tuple(ids[1:][inside[1:]].tolist())
