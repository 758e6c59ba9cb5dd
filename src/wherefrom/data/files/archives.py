"""Archives in the place of folders: the files in `photos.zip` are `photos.zip/a.png` and so on.

The path of a file inside an archive is the archive's path and its name inside.  `listing`
lists these paths, `read_member` reads their bytes; nothing is extracted.  The number of members,
the bytes of each, and what a packed archive unpacks to are bounded.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wherefrom.core.errors import InputError
from wherefrom.core.paths import open_descriptor
from wherefrom.core.saving.store import digest_bytes, digest_file
from wherefrom.data.files.array_members import NPY_MARK, ArrayMembers
from wherefrom.data.files.members import Members, ReadAt, TarMembers, ZipMembers, looks_like_tar
from wherefrom.data.files.opening import UnusableFile, open_regular, show_bytes

SUFFIXES = (
    ".zip", ".npz", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
)  # fmt: skip
MAX_DIGESTED_BYTES = 2**30
MAX_OPEN = 8
_START = 512
_ZIP_MARKS = (b"PK\3\4", b"PK\5\6")
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"\x04\x22\x4d\x18": "packed with LZ4",
    b"PAR1": "a Parquet table",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
}


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its first bytes or its name; also of kinds not read here."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            start = file.read(_START)
    except (OSError, ValueError):
        return False
    return (
        start.startswith((*_ZIP_MARKS, NPY_MARK, *_OTHERS))
        or looks_like_tar(start, path.name)
        or path.name.lower().endswith((".zip", ".npz"))
    )


def has_archive_name(path: Path) -> bool:
    """Whether a file's name ends as those of archives do."""
    return path.name.lower().endswith(SUFFIXES)


def without_suffix(path: Path) -> str:
    """A file's name without the suffix of an archive: `ann.b` of `ann.b.tar.gz`."""
    lower = path.name.lower()
    long_first = sorted(SUFFIXES, key=len, reverse=True)
    suffix = next((suffix for suffix in long_first if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def is_inside(path: Path) -> bool:
    """Whether `path` is that of a file or folder inside an archive."""
    place = _place_inside(path)
    if place is None:
        return False
    opened, name = place
    return name in opened or any(other.startswith(f"{name}/") for other in opened.names)


def is_file(path: Path) -> bool:
    """`Path.is_file`, also true of files inside archives."""
    return path.is_file() or ((place := _place_inside(path)) is not None and place[1] in place[0])


def digest_anywhere(path: Path) -> str:
    """SHA-256 of a file's bytes, also of one inside an archive; an `OSError` if it cannot be read.

    A member that is damaged or too large is an `UnusableFile`.
    """
    if not path.exists() and (data := read_member(path, max_bytes=MAX_DIGESTED_BYTES)) is not None:
        return digest_bytes(data)
    return digest_file(path)


def read_member(path: Path, *, max_bytes: int) -> bytes | None:
    """The bytes of a file inside an archive; None if `path` leads to none.

    A member that is too large or damaged is an `UnusableFile` that names it.
    """
    place = _place_inside(path)
    if place is None:
        return None
    opened, name = place
    if name not in opened:
        raise UnusableFile(path, "there is no such file in the archive")
    return opened.members.read(name, path, max_bytes)


class Opened:
    """An open archive, and the state of its file when it was opened."""

    def __init__(self, path: Path) -> None:
        self.state = _state(path)
        self.members: Members = _open(path)
        self._names = frozenset(self.members.names)
        self.names, self.left_out = self.members.names, self.members.left_out

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def start(self, name: str, size: int) -> bytes:
        """The first bytes of one member; none if it is damaged."""
        try:
            return self.members.start(name, size)
        except Exception:  # reading all of it says what is wrong
            return b""


_opened: OrderedDict[tuple[int, str], Opened] = OrderedDict()
_lock = threading.RLock()


def open_archive(path: Path) -> Opened:
    """The archive at `path`, kept open: the last `MAX_OPEN` are, of each process its own.

    An archive that has changed since is opened anew; a damaged one is an `UnusableFile`.
    """
    key = (os.getpid(), str(path.absolute()))
    with _lock:
        known = _opened.get(key)
        if known is None or known.state != _state(path):
            known = Opened(path)
        _opened[key] = known
        _opened.move_to_end(key)
        while len(_opened) > MAX_OPEN:
            _opened.popitem(last=False)
    return known


def _place_inside(path: Path) -> tuple[Opened, str] | None:
    """The archive that `path` leads into, and the name inside; None if it leads into none."""
    place = locate(path)
    if place is None or not place[1] or not is_archive(place[0]):
        return None
    return open_archive(place[0]), place[1]


def _state(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UnusableFile(path, f"cannot be opened: {error.strerror}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _open(path: Path) -> Members:
    try:
        file = ReadAt(open_descriptor(path))
        start = file.read_at(0, _START)
        for mark, kind in _OTHERS.items():
            if start.startswith(mark):
                raise UnusableFile(
                    path, f"is {kind}, which is not read; unpack it, or save its images in a .tar"
                )
        if start.startswith(NPY_MARK):
            return ArrayMembers(path, file, None)
        if path.suffix.lower() == ".npz" or start.startswith(_ZIP_MARKS):
            return _open_zip(path, file)
        if not looks_like_tar(start, path.name):
            raise UnusableFile(path, "is not a readable .zip archive, or its start is damaged")
        return TarMembers(path, file)
    except InputError:
        raise
    except Exception as error:  # tarfile, zipfile and numpy raise whatever hostile bytes provoke
        name = path.name.lower()
        kind = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), ".tar")
        reason = str(error)[:200] or type(error).__name__
        raise UnusableFile(path, f"is not a readable {kind} archive: {reason}") from error


def _open_zip(path: Path, file: ReadAt) -> Members:
    packed = ZipMembers(path, file)
    if path.suffix.lower() == ".npz" or (
        packed.names and all(name.endswith(".npy") for name in packed.names)
    ):
        return ArrayMembers(path, file, packed)
    return packed


def locate(path: Path) -> tuple[Path, str] | None:
    """The file that `path` names or leads into, and the name inside; None if there is none."""
    for parent in (path, *path.parents):
        try:
            mode = parent.stat().st_mode
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(mode):
            return None
        below = "" if parent == path else path.relative_to(parent).as_posix()
        return parent, below
    return None


@contextmanager
def open_file(path: Path, *, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a file of at most `max_bytes`; `UnusableFile` says why it cannot be read.

    `path` is that of a regular file, or leads into an archive (`data.files.archives`).
    """
    if not os.path.lexists(path) and (data := read_member(path, max_bytes=max_bytes)) is not None:
        yield io.BytesIO(data)
        return
    with open_regular(path, max_bytes=max_bytes) as file:
        yield file


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a file; `UnusableFile` if it is missing, special or too large."""
    with open_file(path, max_bytes=max_bytes) as file:
        try:
            data = file.read(max_bytes + 1)
        except OSError as error:
            raise UnusableFile(path, f"cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise UnusableFile(path, f"is too large: more than {show_bytes(max_bytes)}")
    return data
