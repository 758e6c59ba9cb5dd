"""Matching names in a table to image files: other systems' paths, other roots, other spellings."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath

from wherefrom.core.paths import looks
from wherefrom.data.files.kinds import IMAGE_SUFFIXES

_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt\\])")


class ImageNames:
    """Finds the image that a name in a table means, among the images below a folder.

    A name is a path below `root`, below the folder of the table, or absolute, with either slash; or
    a file name, with or without its suffix, that no two images share.  Letters match whether
    composed or not, and so do bytes of Windows-1252 in a file name.
    """

    def __init__(self, images: Sequence[Path], root: Path, table: Path | None = None) -> None:
        self.root_name = spelled(root.resolve().name)
        self.exact: dict[str, int] = {}  # of two files that are spelled differently each has one
        self.by_path: dict[str, int] = {}
        for place, image in enumerate(images):
            self.by_path[spelled(image.as_posix())] = place
            self.by_path[spelled(_whole(image).as_posix())] = place
            if table is not None:
                self._add_below(image, table.parent, place)
        for place, image in enumerate(images):  # the root's own names come before all others
            self._add_below(image, root, place)
        self.by_name = _unique((spelled(image.name), i) for i, image in enumerate(images))
        self.by_stem = _unique((spelled(image.stem), i) for i, image in enumerate(images))
        self.by_look = _unique(
            (looked(key), place)
            for known in (self.by_path, self.by_name)
            for key, place in known.items()
        )

    def _add_below(self, image: Path, folder: Path, place: int) -> None:
        home, full = _whole(folder), _whole(image)
        if full.is_relative_to(home):
            self.exact[full.relative_to(home).as_posix()] = place
            self.by_path[spelled(full.relative_to(home).as_posix())] = place

    def places(self, names: Sequence[str]) -> list[int | None]:
        """The place of each name's image, None where there is none."""
        places = [self._place(name) for name in names]
        if any(place is not None for place in places):
            return places
        # The table may have been made elsewhere: what all its paths begin with is that place.
        paths = [PurePosixPath(_slashed(name)) for name in names]
        if not paths or any(len(path.parts) < 2 for path in paths):
            return places
        folders = [path.parts[:-1] for path in paths]
        shared = sum(
            1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
        )
        return [self._place("/".join(path.parts[shared:])) for path in paths]

    def _place(self, name: str) -> int | None:
        for text in readings(name):
            if text in self.exact:
                return self.exact[text]
            key = spelled(text).removeprefix("./")
            if key in self.by_path:
                return self.by_path[key]
            _, mark, below = f"/{key}".rpartition(f"/{self.root_name}/")
            if mark and below in self.by_path:
                return self.by_path[below]
            if "/" not in key:
                place = self.by_name.get(key)
                if place is None and Path(key).suffix.lower() not in IMAGE_SUFFIXES:
                    place = self.by_stem.get(key)
                if place is not None:
                    return place
        looks_like = (self.by_look.get(looked(text)) for text in readings(name))
        return next((place for place in looks_like if place is not None), None)


def spelled(text: str) -> str:
    """A name as it is compared with others: composed, undecodable bytes read as Windows-1252."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = os.fsencode(text).decode("cp1252", errors="replace")
    return unicodedata.normalize("NFC", text)


def find_file(home: Path, name: str) -> Path | None:
    """The file below `home` that a table calls `name`, with either slash; None if there is none."""
    from wherefrom.data.files.archives import is_file

    for text in readings(name):
        forms = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))
        for path in (home / form for form in dict.fromkeys(forms)):
            try:
                if is_file(path):
                    return path
            except (OSError, ValueError):  # longer than any file name, or with a zero byte
                continue
    alike = (_file_that_looks(home, text) for text in readings(name))
    return next((path for path in alike if path is not None), None)


def looked(text: str) -> str:
    """A path whose parts are the same for names that look the same (`core.paths.looks`)."""
    return "/".join(looks(part) for part in spelled(text).removeprefix("./").split("/"))


def _file_that_looks(home: Path, text: str) -> Path | None:
    """The one file below `home` whose path looks like `text`; None for none or several."""
    path = Path(home.anchor if text.startswith("/") else home)
    for part in PurePosixPath(text).parts:
        if part == "/":
            continue
        try:
            changed = path.stat().st_mtime_ns
            named = [part] if part == ".." else _names_by_look(path, changed).get(looked(part), [])
        except (OSError, ValueError):
            return None
        if len(named) != 1:
            return None
        path /= named[0]
    return path if path.is_file() else None


@lru_cache(maxsize=64)  # a table may name every file of a folder in another spelling
def _names_by_look(folder: Path, changed: int) -> dict[str, list[str]]:
    by_look: dict[str, list[str]] = {}
    for name in os.listdir(folder):  # noqa: PTH208 (names, not paths)
        by_look.setdefault(looked(name), []).append(name)
    return by_look


def readings(name: str) -> list[str]:
    """The names that a cell may mean, likeliest first.

    As it stands; without spaces around it; with the slashes of this system; without what the tables
    of this library add for spreadsheets and terminals (an apostrophe in front, escapes).
    """
    bare = name.strip()
    plain = bare.removeprefix("'")
    meanings = [name, bare, _slashed(bare), plain, _slashed(plain)]
    if "\\" in plain:
        meanings.append(_ESCAPE.sub(_unescaped, plain))
    return list(dict.fromkeys(meanings))


def _unescaped(escape: re.Match[str]) -> str:
    body = escape[1]
    return _LETTERS.get(body) or chr(min(int(body[1:], 16), 0x10FFFF))


def _whole(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _slashed(name: str) -> str:
    return name.replace("\\", "/")


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    by_name: dict[str, int] = {}
    twice = set()
    for name, place in pairs:
        if by_name.setdefault(name, place) != place:
            twice.add(name)
    return {name: place for name, place in by_name.items() if name not in twice}
