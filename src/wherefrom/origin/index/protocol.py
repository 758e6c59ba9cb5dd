"""What every index can do, wherever its vectors are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from wherefrom.origin.index.result import AddResult, IndexedImage, SearchResult


class VectorIndex(Protocol):
    """Images under integer ids that are never used twice, with one vector each."""

    def add(
        self, paths: Sequence[str | os.PathLike[str]], digests: Sequence[str], vectors: Tensor
    ) -> AddResult:
        """Add images; a path that is there with the same digest is left as it is."""
        ...

    def delete(self, ids: Sequence[int]) -> None:
        """Delete images; an id that is not there is an `InputError`, and nothing is deleted."""
        ...

    def search(self, queries: Tensor, k: int) -> SearchResult:
        """The k most similar images of each query (Q, D)."""
        ...

    def get(self, ids: Sequence[int]) -> tuple[IndexedImage, ...]:
        """The images of these ids; an id that is not there is an `InputError`."""
        ...

    def count(self) -> int:
        """How many images there are."""
        ...

    def flush(self) -> None:
        """When this returns, everything added or deleted so far outlives a crash."""
        ...
