"""Opening a user's file: regular files only, bounded, and one line per problem."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path

__all__ = [
    "UnusableFile",
    "is_folder",
    "open_regular",
    "read_regular",
    "show_bytes",
    "show_path",
    "why_closed",
]


class UnusableFile(InputError):  # noqa: N818 (it is the file that is unusable)
    """One file that cannot be used.  `reason` is the message without the path in front."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = " ".join(reason.split())
        super().__init__(f"{show_path(path)}: {self.reason}")


def show_bytes(count: int) -> str:
    """A byte count for people, as in `200 MiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


@contextmanager
def open_regular(path: Path, *, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `max_bytes`; `UnusableFile` says why it cannot be read.

    A path that leads into an archive (`data.archives`) opens the file there.
    """
    if not os.path.lexists(path) and (data := _read_archived(path, max_bytes)) is not None:
        yield io.BytesIO(data)
        return
    # Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError as error:
        raise UnusableFile(path, _why_missing(path)) from error
    except OSError as error:
        closed = why_closed(path) if is_folder(path) else f"cannot be opened: {error.strerror}"
        raise UnusableFile(path, closed) from error
    except ValueError as error:
        raise UnusableFile(path, f"is not a usable file name: {error}") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        if stat.S_ISDIR(status.st_mode):
            raise UnusableFile(path, why_closed(path))
        raise UnusableFile(path, "is a pipe, socket or device, expected a file")
    with os.fdopen(handle, "rb") as file:
        size = status.st_size
        if size > max_bytes:
            raise UnusableFile(
                path, f"is too large: {show_bytes(size)}, at most {show_bytes(max_bytes)} are read"
            )
        yield file


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a regular file; `UnusableFile` if it is missing, special or too large."""
    with open_regular(path, max_bytes=max_bytes) as file:
        try:
            data = file.read(max_bytes + 1)
        except OSError as error:
            raise UnusableFile(path, f"cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise UnusableFile(path, f"is too large: more than {show_bytes(max_bytes)}")
    return data


def is_folder(path: Path) -> bool:
    """Whether there is a folder, or a link to one; False for what cannot be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a closed parent, or a name that no file can have
        return False


def why_closed(folder: Path) -> str:
    """Why a folder is not a file that can be read, and whether it cannot be opened either."""
    try:
        with os.scandir(folder):
            return "is a folder, expected a file"
    except OSError as error:
        return f"is a folder that cannot be opened: {error.strerror}"


def _why_missing(path: Path) -> str:
    try:
        return f"is a link to {show_path(path.readlink())}, which is not there"
    except OSError:
        return "there is no such file"


def _read_archived(path: Path, max_bytes: int) -> bytes | None:
    from wherefrom.data.files.archives import read_member

    return read_member(path, max_bytes=max_bytes)
