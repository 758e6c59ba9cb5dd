"""Listing the images inside archives; the other files in them are counted in a note."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wherefrom.core.paths import is_passed_over, show_path
from wherefrom.core.progress import add_note
from wherefrom.data.files.archives import (
    SUFFIXES,
    Opened,
    has_archive_name,
    is_archive,
    is_file,
    is_inside,
    locate,
    open_archive,
)
from wherefrom.data.files.kinds import HEAD_BYTES, IMAGE_SUFFIXES, kind_of
from wherefrom.data.files.listing import name_suffixes
from wherefrom.data.files.opening import SkippedFile, UnusableFile

# Labels and captions beside images, as `data.tables.annotations` reads them.
BESIDE = frozenset({".json", ".jsonl", ".csv", ".tsv", ".txt", ".cls", ".caption"})
ARCHIVE_SUFFIXES = frozenset(Path(f"x{suffix}").suffix for suffix in SUFFIXES)  # the last parts


def holds_images(path: Path) -> bool:
    """Whether `path` is an archive, or a file or folder inside one."""
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return False
    return is_archive(path) or (not os.path.lexists(path) and is_inside(path))


def holds_many(path: Path) -> bool:
    """Whether `path` is a folder, an archive, or a folder inside one, and not one file."""
    return path.is_dir() or (holds_images(path) and (path.is_file() or not is_file(path)))


def images_in_archive(path: Path) -> list[Path]:
    """The images of an archive, or below a folder inside it, sorted.

    A damaged archive, and one without an image, are an `UnusableFile`.
    """
    place = locate(path)
    if place is None:
        raise UnusableFile(path, "there is no such file or folder")
    archive, below = place
    opened = open_archive(archive)
    inside = [name for name in opened.names if _is_below(name, below)]
    images = sorted(name for name in inside if _is_image(name, opened))
    note = _note(set(inside).difference(images), () if below else opened.left_out)
    if not images:
        rest = f"; {note}" if note else ""
        raise UnusableFile(path, f"holds no image; expected files such as name.png inside{rest}")
    if note:
        add_note(f"{show_path(path)}: {note}")
    return [archive / name for name in images]


def images_in_archives_below(folder: Path) -> list[Path]:
    """The images of all archives below a folder, as of a series of shards, sorted.

    A damaged archive is listed itself, so that reading it fails; a note says why it cannot be
    opened.
    """
    images: list[Path] = []
    for archive in sorted(_archives_below(folder), key=lambda path: path.parts):
        try:
            images += images_in_archive(archive)
        except UnusableFile as error:
            add_note(str(error))
            images.append(archive)
    return images


def _archives_below(folder: Path) -> list[Path]:
    archives = []
    for home, below, names in os.walk(folder):
        below[:] = [name for name in below if not is_passed_over(name)]
        archives += [
            Path(home, name)
            for name in names
            if not is_passed_over(name) and has_archive_name(Path(name))
        ]
    return archives


def _is_below(name: str, folder: str) -> bool:
    return not folder or name == folder or name.startswith(f"{folder}/")


def _is_image(name: str, opened: Opened) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in BESIDE or has_archive_name(Path(name)):
        return False
    return kind_of(opened.start(name, HEAD_BYTES), name) is not None


def _note(others: set[str], left_out: Sequence[SkippedFile]) -> str:
    """One sentence on the files that are not read; empty if there are none."""
    suffixes = Counter(
        "archive inside" if has_archive_name(Path(name)) else Path(name).suffix.lower()
        for name in others
        if Path(name).suffix.lower() not in BESIDE
    )
    parts = name_suffixes(suffixes)
    for path, reason in left_out[:1]:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        parts.append(f"{show_path(path)} {reason}{more}")
    return f"not read as images: {', '.join(parts)}" if parts else ""
