"""What an index returns.  Larger score = more similar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from wherefrom.origin.index.scanning.scan import ScanStatistics


@dataclass(frozen=True)
class IndexedImage:
    """One image of an index.  `digest` is that of the file's bytes, `added` is in Unix time."""

    id: int
    path: str
    digest: str
    added: float


@dataclass(frozen=True)
class AddResult:
    """What became of the images given to `add`.

    `ids`: one per image given, that of the image already there for an unchanged one.
    `added`, `unchanged`, `replaced`: counts; a replaced image (same path, other content) is also
    an added one, under a new id.
    `duplicates`: id of an added image -> smallest id of an earlier one with the same digest.
    """

    ids: tuple[int, ...]
    added: int
    unchanged: int
    replaced: int
    duplicates: Mapping[int, int]


@dataclass(frozen=True)
class SearchResult:
    """The most similar images of each query, best first, ties by smaller id.

    `ids` (Q, k) int64 and `scores` (Q, k) float64, on the CPU.  A score is the inner product of the
    query at unit norm with the stored vector, so it is a cosine up to the rounding of the stored
    vector to float16.  k is the number asked for or the number of images, whichever is smaller.
    """

    ids: Tensor
    scores: Tensor
    statistics: ScanStatistics


@dataclass(frozen=True)
class IndexCheck:
    """What `Index.verify` has read and found undamaged."""

    images: int
    segments: int
    rows: int
