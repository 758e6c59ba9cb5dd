"""Thumbnails of checked files, bounded in number and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.images.items import read_image, to_image
from wherefrom.data.images.notebook import encode_picture

MAX_SIDE = 96
MAX_COUNT = 200


class Pictured(Protocol):
    """A row about a file: `name` is its path, `digest` that of its bytes, None if unreadable."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str | None: ...


@dataclass(frozen=True)
class PicturedFile:
    """A file to be shown as a thumbnail, where no result is at hand."""

    name: str
    digest: str | None


def thumbnails(rows: Sequence[Pictured], *, track: Track = quiet) -> dict[str, str]:
    """PNG data addresses by name, for the first `MAX_COUNT` rows that name a readable file.

    A file that changed since it was checked gets none.
    """
    pictures = {}
    few = rows[:MAX_COUNT]
    for row in track(few, "drawing thumbnails", total=len(few)):
        try:
            image = read_image(Path(row.name), losses=False)
        except InputError:
            continue  # the row itself says what is wrong with the file
        if row.digest is None or row.digest == image.digest:
            pictures[row.name] = encode_picture(to_image(image.pixels), side=MAX_SIDE)
    return pictures
