"""Find the pictures of an index again after folders have moved.

An index stores the absolute path of every picture, and its own folder, its home.  If the index was
moved alone, the absolute paths hold.  If it was moved together with its pictures, the paths
relative to its home hold.  Which of the two it is, is decided for each folder by looking for the
pictures; where both places hold pictures of these names, their content decides.

Links in the folder of a picture are resolved, the picture's own name is not: a picture that is
reached by several paths counts once, and a folder of links to files stays that folder.
"""

# pathlib takes no bytes, and not every path is text.
# ruff: noqa: PTH109, PTH112, PTH116, PTH117, PTH118, PTH120
from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.limits import limits_in_force
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.files.archives import is_file, read_file
from wherefrom.data.files.opening import UnusableFile

SAMPLES = 3  # pictures of a folder that are looked at, to see whether it has moved
GONE = "is gone"
CHANGED = "has changed since it was added"
Sample = tuple[bytes, str]  # the name of a picture inside its folder, and its digest


def absolute_folder(path: str | os.PathLike[str]) -> bytes:
    """A folder's absolute path without links, as bytes; the folder need not exist."""
    return os.path.realpath(os.fsencode(os.fspath(path)))


def absolute_names(paths: Iterable[str | os.PathLike[str]]) -> list[bytes]:
    """The absolute path of each file, as bytes: links in its folder are resolved, it is not."""
    known: dict[bytes, bytes] = {}
    names = []
    for path in paths:
        folder, name = os.path.split(os.fsencode(os.fspath(path)))
        if name in (b"", b".", b".."):
            names.append(absolute_folder(path))
            continue
        if folder not in known:
            known[folder] = os.path.realpath(folder or b".")
        names.append(os.path.join(known[folder], name))
    return names


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether an absolute path lies in a folder, at whatever depth."""
    return path.startswith(folder if folder.endswith(os.fsencode(os.sep)) else folder + _SEP)


def shown_path(path: str, base: str | os.PathLike[str] | None = None) -> str:
    """A path as people read it: from `base` (default: the current folder) if it lies below it."""
    try:
        start = os.path.realpath(os.getcwd() if base is None else base)
    except FileNotFoundError:  # the current folder was removed
        return path
    inside = os.path.isabs(path) and is_below(os.fsencode(path), os.fsencode(start))
    return os.path.relpath(path, start) if inside else path


def missing_now(path: str, digest: str | None = None) -> str:
    """Why the picture of that digest is not at `path` any more, "" if it is.

    Without a `digest` only whether a file is there is looked at.
    """
    if digest is None:
        return _absent(path)
    try:
        return "" if digest_now(Path(path)) == digest else CHANGED
    except UnusableFile as problem:
        return _absent(path) or problem.reason


def digest_now(path: Path) -> str:
    """SHA-256 of a picture's bytes, as `sha256:<hex>`; `UnusableFile` if it cannot be read."""
    return digest_bytes(read_file(path, max_bytes=limits_in_force().max_bytes))


def _absent(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        try:
            return "" if is_file(Path(path)) else GONE  # inside an archive?
        except UnusableFile as problem:  # the archive is damaged
            return problem.reason
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if stat.S_ISREG(mode) else CHANGED


@dataclass(frozen=True)
class Moves:
    """Folders of pictures that are elsewhere now: old to new, absolute paths as bytes."""

    folders: Mapping[bytes, bytes] = field(default_factory=dict)

    def current(self, path: bytes) -> bytes:
        """Where the picture with this stored path is now."""
        folder, name = os.path.split(path)
        return os.path.join(self.folders[folder], name) if folder in self.folders else path

    def either(self, path: bytes) -> tuple[bytes, ...]:
        """Where a file may be now that is no picture of the index: its place was not looked for."""
        folder, tail = os.path.split(path)
        if folder in self.folders:
            return (os.path.join(self.folders[folder], tail),)
        while folder not in self.folders and os.path.dirname(folder) != folder:
            folder, name = os.path.split(folder)
            tail = os.path.join(name, tail)
        if folder not in self.folders:
            return (path,)
        return path, os.path.join(self.folders[folder], tail)

    def stored(self, path: bytes) -> list[bytes]:
        """The stored paths of a picture that is at this path now."""
        folder, name = os.path.split(path)
        return [os.path.join(old, name) for old, new in self.folders.items() if new == folder]

    def current_folder(self, folder: bytes) -> bytes:
        """Where a folder is now that may hold pictures in folders of its own only."""
        if folder in self.folders:
            return self.folders[folder]
        for old, new in self.folders.items():
            tail = os.path.relpath(old, folder) if is_below(old, folder) else b""
            if tail and new.endswith(_SEP + tail):
                return new[: -len(tail) - 1] or _SEP
        return folder


def samples_of(images: Iterable[tuple[int, bytes, str]]) -> dict[bytes, list[Sample]]:
    """The first pictures of every folder, of (id, path, digest)."""
    folders: dict[bytes, list[Sample]] = {}
    for _, path, digest in images:
        folder, name = os.path.split(path)
        some = folders.setdefault(folder, [])
        if len(some) < SAMPLES:
            some.append((name, digest))
    return folders


def moved_along(folders: Mapping[bytes, Sequence[Sample]], old: bytes, new: bytes) -> Moves:
    """What moved together with an index from the folder `old` to the folder `new`."""
    moved = {}
    for folder, some in folders.items():
        try:
            there = os.path.normpath(os.path.join(new, os.path.relpath(folder, old)))
        except ValueError:  # on another drive
            continue
        if there != folder and _holds(there, some):
            stayed = _holds(folder, some)
            if not stayed or _holds(there, some, content=True):
                moved[folder] = there
    return Moves(moved)


def below_roots(
    folders: Mapping[bytes, Sequence[Sample]], roots: Sequence[str | os.PathLike[str]]
) -> Moves:
    """What lies below one of the `roots` now, by its content; earlier roots come first.

    How much of a stored path remains below a root is found by looking, the longest part first.  A
    root below which no picture lies is an `InputError`.
    """
    moved: dict[bytes, bytes] = {}
    heads: list[tuple[bytes, bytes]] = []  # a folder of stored paths, and the root in its place
    for given in roots:
        root, count = absolute_folder(given), len(heads)
        for folder, some in folders.items():
            if folder not in moved:
                _place_below(root, folder, some, heads, moved)
        if len(heads) == count:
            what = "none of the pictures of the index lies there; give the folder that holds them"
            raise InputError(
                f"--root {show_path(Path(given))}: {what} now, with the folders in it as they were"
                if os.path.isdir(root)
                else f"--root {show_path(Path(given))}: there is no such folder"
            )
    for folder in folders:  # a folder without a picture left goes where those around it went
        for head, root in heads:
            if folder == head or is_below(folder, head):
                moved.setdefault(folder, _instead(folder, head, root))
    return Moves({old: new for old, new in moved.items() if old != new})


def _place_below(
    root: bytes,
    folder: bytes,
    some: Sequence[Sample],
    heads: list[tuple[bytes, bytes]],
    moved: dict[bytes, bytes],
) -> None:
    """Enter where a folder lies below `root`, if it does, in `moved`, and its head in `heads`."""
    for head, its_root in heads:
        covered = its_root == root and is_below(folder, head)
        if covered and _holds(_instead(folder, head, root), some):
            moved[folder] = _instead(folder, head, root)
            return
    above = [folder]
    while os.path.dirname(above[-1]) != above[-1]:
        above.append(os.path.dirname(above[-1]))
    for head in reversed(above):
        if _holds(_instead(folder, head, root), some, content=True):
            heads.append((head, root))
            moved[folder] = _instead(folder, head, root)
            return


def _instead(folder: bytes, head: bytes, root: bytes) -> bytes:
    """A folder with `root` in the place of `head`, which is above it or itself."""
    return os.path.normpath(os.path.join(root, os.path.relpath(folder, head)))


def _holds(folder: bytes, some: Sequence[Sample], *, content: bool = False) -> bool:
    """Whether any of the pictures is in a folder, by name or by `content`."""
    return any(
        not missing_now(os.fsdecode(os.path.join(folder, name)), digest if content else None)
        for name, digest in some
    )


_SEP = os.fsencode(os.sep)
