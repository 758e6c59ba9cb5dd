"""Opening regular files, and reading a part of an open one, on every system."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

_lock = threading.Lock()  # threads share the position in a file where it has to be moved


def open_descriptor(path: Path) -> int:
    """A descriptor of the regular file at `path`, for reading; the caller closes it.

    An `OSError` for anything else; a folder, pipe, socket or device has the number `EINVAL`.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return handle


def read_at(handle: int, length: int, start: int) -> bytes:
    """At most `length` bytes of an open file from byte `start`; fewer only at its end.

    Threads may read the same file at once.  `OSError` if reading fails.
    """
    parts = []
    while length > 0:
        part = _read_some(handle, length, start)
        if not part:
            break
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_some(handle: int, length: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, length, start)
    with _lock:  # as on Windows
        os.lseek(handle, start, os.SEEK_SET)
        return os.read(handle, length)
