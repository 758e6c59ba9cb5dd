"""Images that are to be forgotten, by path, folder or pattern."""

from __future__ import annotations

import fnmatch
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.places import absolute_folder, absolute_names, is_below
from wherefrom.origin.searching.copies import CopyHashes

SIGNS = frozenset("*?[")
Paths = dict[int, bytes]  # of images by id


def remove(index: Index, paths: Sequence[Path | str]) -> int:
    """Remove the images that `paths` name, as in `select`; returns how many there were.

    A later synchronisation leaves them out; `add` adds them again.
    """
    ids = select(index, paths)
    images = index.get(ids)
    index.delete(ids, by_hand=True)
    hashes = CopyHashes(index.path, writable=True)
    try:
        hashes.forget_unless_held([image.digest for image in images], index.copies)
    finally:
        hashes.close()
    return len(ids)


def select(index: Index, paths: Sequence[Path | str]) -> list[int]:
    """The ids of the images that each of `paths` names: a picture, a folder, or a pattern.

    A folder names all images below it, whether it is still there or not.  In a pattern `*`, `?`
    and `[...]` match inside one name, `**` any number of folders.  Both are relative to the current
    folder.  An `InputError` for one that names no image of the index.
    """
    images = {image: path for image, path, _ in index.pictures.images()}
    chosen: set[int] = set()
    for given in paths:
        ids = _named(given, index, images)
        if not ids:
            raise InputError(
                f"{show_path(Path(given))} is not in {show_path(index.path)}, as a picture, a "
                "folder or a pattern; nothing was removed (a pattern begins in the current folder, "
                "as in a shell; '/**/name*.png' looks everywhere)"
            )
        chosen.update(ids)
    return sorted(chosen)


def _named(given: Path | str, index: Index, images: Paths) -> list[int]:
    """The ids that one path names; what exists by that very name comes first."""
    (exact,) = index.find([given])
    if exact is not None:
        return [exact]
    (name,) = absolute_names([given])
    folders = {name, absolute_folder(given)}
    tests: list[Callable[[bytes], bool]] = [
        lambda path: any(is_below(path, folder) for folder in folders),
        lambda path: _composed(path) == _composed(name),
        lambda path: is_below(_composed(path), _composed(name)),
    ]
    if SIGNS & set(os.fsdecode(name)):
        pattern = _pattern(given)
        tests.append(lambda path: _matches(Path(os.fsdecode(_composed(path))).parts, pattern))
    matches = ([image for image, path in images.items() if test(path)] for test in tests)
    return next((ids for ids in matches if ids), [])


def _pattern(given: Path | str) -> tuple[str, ...]:
    """The parts of a pattern as an absolute path; what comes before its signs is resolved."""
    parts = Path(given).parts
    first = next(i for i, part in enumerate(parts) if SIGNS & set(part))
    start = os.fsdecode(_composed(absolute_folder(Path(*parts[:first]))))
    return (*Path(start).parts, *(unicodedata.normalize("NFC", part) for part in parts[first:]))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, one by one but for `**`."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return (
        bool(parts)
        and (parts[0] == pattern[0] or fnmatch.fnmatchcase(parts[0], pattern[0]))
        and _matches(parts[1:], pattern[1:])
    )


def _composed(path: bytes) -> bytes:
    """A path with composed characters: systems differ in how they store an é."""
    return os.fsencode(unicodedata.normalize("NFC", os.fsdecode(path)))
