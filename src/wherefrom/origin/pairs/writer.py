"""Write a pairs folder: one process at a time, and repaired after one that was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.paths import entry_names, show_path
from wherefrom.core.progress import add_note
from wherefrom.origin.pairs.failures import SKIPPED_NAME
from wherefrom.origin.pairs.manifest import (
    EDITS_NAME,
    MANIFEST_NAME,
    PairRow,
    replace_manifest,
    scan_manifest,
)


def recover(out: Path) -> dict[str, PairRow]:
    """The rows by their id, and a manifest that ends with a whole line."""
    rows, ends_well = scan_manifest(out)
    if not ends_well:
        replace_manifest(out, rows)
    for scratch in (out / EDITS_NAME).glob(".*.png.*"):  # of a writer that was killed
        scratch.unlink(missing_ok=True)
    return {row.id: row for row in rows}


@contextmanager
def opened(out: Path) -> Iterator[None]:
    """The pairs folder, made if need be and for this process alone; gone again if left empty."""
    manifest, edits, skipped = (out / name for name in (MANIFEST_NAME, EDITS_NAME, SKIPPED_NAME))
    is_new, is_new_folder = not os.path.lexists(manifest), not os.path.lexists(out)
    _refuse_other(out, is_new=is_new)
    try:
        out.mkdir(exist_ok=True)
        with _locked(out):
            if is_new:
                replace_manifest(out, ())
            edits.mkdir(exist_ok=True)
            try:
                yield
            finally:
                if is_new and not manifest.stat().st_size and not os.path.lexists(skipped):
                    manifest.unlink()
                    with suppress(OSError):  # not empty: then it is not ours to remove
                        edits.rmdir()
                        if is_new_folder:
                            out.rmdir()
    except OSError as error:
        raise InputError(f"cannot write {show_path(out)}: {error.strerror or error}") from error


def _refuse_other(out: Path, *, is_new: bool) -> None:
    if not os.path.lexists(out):
        if not out.parent.is_dir():
            raise InputError(f"{show_path(out.parent)} is not a folder; create it first")
    elif not out.is_dir():
        raise InputError(f"{show_path(out)} is no folder; choose another place for the pairs")
    elif is_new and any(
        name != EDITS_NAME and not name.startswith(".") for name in entry_names(out)
    ):
        raise InputError(
            f"{show_path(out)} holds other files and no {MANIFEST_NAME}, so it is left alone; "
            "choose another folder for the pairs"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Refuse a second builder; the lock vanishes with the process that holds it."""
    try:
        import fcntl  # not on Windows, where nobody is kept out
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another build is writing {show_path(folder)}; wait for it, or choose another "
                "folder"
            ) from error
        except OSError:  # as network and FUSE file systems may
            add_note(
                f"{show_path(folder)}: this file system locks no folder, so a second build "
                "would not be kept out"
            )
        yield
    finally:
        os.close(handle)
