"""Writing reports: targets are checked before the work, and files are written whole."""

from __future__ import annotations

from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path

# What the folder of an inspection holds; here, because a service asks for them without torch.
PAGE, INSPECTION = "report.html", "inspection.json"
PICTURES, THUMBNAIL = "pictures.json", "thumbnail.png"  # of a service, for its page
SIGNED = "signed.png"  # its presence says that the other two are signed


def check_target(path: Path, *, option: str, suffixes: tuple[str, ...]) -> None:
    """An `InputError` if no such file can be written there.  Call it before the long work.

    The suffix is required so that a mistyped option cannot replace an image.
    """
    shown = show_path(path)
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{option} is {shown}, but it must end in {suffixes[0]}; choose another")
    if path.is_dir():
        raise InputError(f"{shown} is a folder; choose another {option}")
    if not path.parent.is_dir():
        folder = show_path(path.parent)
        raise InputError(f"{folder} is not a folder; create it, or choose another {option}")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all; an older file at `path` is replaced."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; an older one at `path` is replaced."""
    from wherefrom.core.saving.store import write_file  # imports torch

    try:
        write_file(path, data)
    except OSError as error:
        raise InputError(f"cannot write {show_path(path)}: {error.strerror}") from error


def remove_signature(folder: Path) -> None:
    """Remove an older signed picture, so that no changed report looks signed."""
    try:
        (folder / SIGNED).unlink(missing_ok=True)
    except OSError as error:
        shown = show_path(folder / SIGNED)
        raise InputError(f"cannot remove {shown}: {error.strerror}") from error
