"""Progress: long functions take a `track`; the default shows nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """`for step in track(steps, "inverting", total=10): ...`"""

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        """Yield the items unchanged while showing `label` and how far along they are."""
        ...


def quiet(items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
    """The default tracker: shows nothing."""
    yield from items
