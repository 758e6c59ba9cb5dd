"""Reading a user's file by its path, also where the path leads into an archive."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wherefrom.data.files.archives import read_member
from wherefrom.data.files.opening import UnusableFile, open_regular, show_bytes


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
