"""Reading a part of an open file, on systems with and without `pread`."""

from __future__ import annotations

import os
import threading

_lock = threading.Lock()  # the place in a file is shared by all threads where it has to be moved


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
