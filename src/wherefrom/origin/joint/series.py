"""Series of near-duplicates in an index: bursts, crops and variants of one scene.

Two pictures are near-duplicates if their joint score stands out among pairs of the index as an edit
stands out beside its origin, or if their perceptual hashes differ in few bits.  A series is what
hangs together by such pairs.  An edit of one picture of a series looks like the others, so a series
is one answer, and a calibration leaves out the whole series of an origin.

Scores are in deviations over the pairs of this index, so that a collection of pictures that are all
alike does not become one series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from wherefrom.origin.index.index import Index
from wherefrom.origin.joint.scale import JointScale

NEAR = 6.5  # deviations
NEIGHBOURS = 64  # of one picture that are looked at
MAX_SERIES = 256  # pictures


@dataclass(frozen=True, eq=False)
class SeriesFinder:
    """Finds the series of pictures of an index.

    `alike`: the digests of the pictures whose perceptual hashes are near that of a digest.
    """

    index: Index
    scale: JointScale
    alike: Callable[[str], Sequence[str]] | None = None

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
        neighbours = []
        for image, row, others in zip(self.index.get(ids), rows, nearest, strict=True):
            far = self.scale.deviations(row[None], self.index.vectors(others.tolist()))[0]
            digests = () if self.alike is None else self.alike(image.digest)
            copies = [twin.id for digest in digests for twin in self.index.twins(digest)]
            neighbours.append([*others[far >= NEAR].tolist(), *copies])
        return neighbours


def series_among(ids: Tensor, index: Index, scale: JointScale) -> tuple[int, ...]:
    """The ids, of those given, in the series of the first of them, without itself."""
    rows = index.vectors(ids.tolist())
    inside = scale.deviations(rows[:1], rows)[0] >= NEAR
    inside[0] = True
    if int(inside.sum()) > 1:
        near = scale.deviations(rows, rows) >= NEAR
        while not (grown := near[inside].any(0) | inside).equal(inside):
            inside = grown
    return tuple(ids[1:][inside[1:]].tolist())
