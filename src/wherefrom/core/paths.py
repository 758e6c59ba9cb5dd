"""Opening regular files, printable paths, and names that operating systems put everywhere."""

from __future__ import annotations

import errno
import os
import stat
import threading
import unicodedata
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


# What Finder, Explorer, the desktops and NAS boxes put into folders; compared without case.
_SYSTEM_NAMES = frozenset(
    {"thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"}
    | {
        "icon\r",
        "icon\uf00d",
        "picasa.ini",
        "zbthumbnail.info",
        "__macosx",
        "folder.jpg:encryptable",
    }
    | {"@eadir", "@synoeastream", "@synoresource", "@tmp", "@recycle", "@recently-snapshot"}
    | {
        "#recycle",
        "#snapshot",
        "~snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
    }
    | {"network trash folder", "temporary items", "thefindbyidfolder", "thevolumesettingsfolder"}
)
_SYSTEM_HIDDEN = (
    "._", ".ds_store", ".localized", ".directory", ".hidden", ".picasa.ini", ".@__thumb",
    ".apdisk", ".appledb", ".appledesktop", ".appledouble", ".com.apple.", ".fseventsd",
    ".documentrevisions-v100", ".fuse_hidden", ".nfs", ".nomedia", ".snapshot", ".snapshots",
    ".spotlight-v100", ".syncthing.", ".stfolder", ".stignore", ".temporaryitems", ".thumbnails",
    ".trash", ".volumeicon.icns", ".vol",
)  # fmt: skip


def show_path(path: Path) -> str:
    """The path as one printable line: control characters and undecodable bytes are escaped."""
    return printable(str(path))


def printable(text: str) -> str:
    r"""The text as one line: control, format and undecodable characters as `\x1b` or `\u202e`."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def is_system_name(name: str) -> bool:
    """Whether an operating system or a NAS puts files or folders of this name everywhere.

    As `.DS_Store`, `._photo.jpg`, `Thumbs.db`, `desktop.ini`, `@eaDir`, `__MACOSX` and `.Trashes`.
    For an empty `lost+found` see `is_empty_lost_and_found`.
    """
    folded = name.casefold()
    return folded in _SYSTEM_NAMES or folded.startswith(_SYSTEM_HIDDEN)


def is_passed_over(name: str) -> bool:
    """Whether files and folders of this name are never listed: hidden, or made by a system."""
    return (name.startswith(".") and name != "..") or is_system_name(name)


def unwritable(name: str) -> str:
    """Why a name cannot be written into a report or a receipt; empty if it can.

    Receipts are UTF-8 text in which a name takes one line, so bytes that are no UTF-8, control
    characters and line breaks are refused.
    """
    if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
        return "it holds bytes that are no UTF-8"
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "it holds a control character or a line break"
    return "" if name.strip() else "it is blank"


def looks(name: str) -> str:
    """A key that is equal for names that look equal: composed, no zero-width marks, no margins.

    It tells whether two names can be confused.
    """
    seen = "".join(char for char in name if unicodedata.category(char) != "Cf")
    return " ".join(unicodedata.normalize("NFC", seen).split())


def entry_names(folder: Path) -> set[str]:
    """The names in a folder without what operating systems put there; `OSError` if it fails."""
    return {
        entry.name
        for entry in folder.iterdir()
        if not is_system_name(entry.name) and not is_empty_lost_and_found(entry)
    }


def is_empty_lost_and_found(path: Path) -> bool:
    """Whether `path` is the empty folder `lost+found` that a file system keeps for repairs."""
    if path.name != "lost+found":
        return False
    try:
        return next(path.iterdir(), None) is None
    except OSError:
        return False
