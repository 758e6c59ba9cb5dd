"""What the library reports: progress, by a `track` that shows nothing by default, and notes."""

from __future__ import annotations

import logging
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


# Records of level INFO.  The command line prints them to stderr unless `--quiet` is given.
NOTES = logging.getLogger("wherefrom.notes")


def add_note(message: str) -> None:
    """Log a note of one line, as `photos: 3 other files (2 .txt, 1 .csv) were not read`."""
    NOTES.info("%s", message)
