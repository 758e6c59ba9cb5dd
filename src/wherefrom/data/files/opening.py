"""Opening a regular file of bounded size, and what to say of one that cannot be used."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wherefrom.core.errors import InputError
from wherefrom.core.paths import open_descriptor, show_path


class UnusableFile(InputError):  # noqa: N818 (it is the file that is unusable)
    """One file that cannot be used.  `reason` is the message without the path in front."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = " ".join(reason.split())
        super().__init__(f"{show_path(path)}: {self.reason}")


class SkippedFile(NamedTuple):
    """A file, or an item in one, that was not used, and why: the one shape of this in all results.

    `path`: the file; of a row in a table `rows.csv:3`, of an item in an array `signals.npy[3]`.
    `reason`: a clause that continues the path, as `is empty (0 bytes)`.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{show_path(self.path)}: {self.reason}"

    def to_dict(self) -> dict[str, str]:
        """`path` and `reason` as texts; the path is printable."""
        return {"path": show_path(self.path), "reason": self.reason}


def show_bytes(count: int) -> str:
    """A byte count for people, as in `200 MiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"


@contextmanager
def open_regular(path: Path, *, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `max_bytes`; `UnusableFile` says why it cannot be read."""
    try:
        handle = open_descriptor(path)
    except FileNotFoundError as error:
        raise UnusableFile(path, _why_missing(path)) from error
    except OSError as error:
        raise UnusableFile(path, _why_unopened(path, error)) from error
    except ValueError as error:
        raise UnusableFile(path, f"is not a usable file name: {error}") from error
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        if size > max_bytes:
            raise UnusableFile(
                path, f"is too large: {show_bytes(size)}, at most {show_bytes(max_bytes)} are read"
            )
        yield file


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


def _why_unopened(path: Path, error: OSError) -> str:
    if is_folder(path):
        return why_closed(path)
    if error.errno == errno.EINVAL:
        return "is a pipe, socket or device, expected a file"
    return f"cannot be opened: {error.strerror}"


def _why_missing(path: Path) -> str:
    try:
        return f"is a link to {show_path(path.readlink())}, which is not there"
    except OSError:
        return "there is no such file"
