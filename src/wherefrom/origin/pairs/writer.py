"""Write a pairs folder: one process at a time, and repaired after one that was killed.

`skipped.jsonl` lies beside the manifest and has one line of JSON per edit that a pipeline could not
make.  An edit follows from its id alone, so what failed once fails again; whoever wants another try
removes the line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.paths import entry_names, show_path
from wherefrom.core.progress import add_note
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.origin.pairs.manifest import (
    EDITS_NAME,
    MANIFEST_NAME,
    PairRow,
    append_line,
    replace_manifest,
    scan_manifest,
)
from wherefrom.origin.pairs.pipelines import UnusableEdit

SKIPPED_NAME = "skipped.jsonl"
MAX_BYTES = 2**30
MAX_FAULTS = 5  # of the pipeline one after the other: then it is not the photo


@dataclass
class Failures:
    """Reasons by the id of an edit, of earlier builds and of this one."""

    folder: Path
    reasons: dict[str, str]
    faults: int = 0  # of the pipeline or the captioner since the last edit that was made
    has_success: bool = False

    def earlier(self, edit_id: str) -> str | None:
        """Why an earlier build could not make this edit; None where none tried."""
        reason = self.reasons.get(edit_id)
        again = f"remove its line from {SKIPPED_NAME} to try again"
        return None if reason is None else f"{reason} (in an earlier build; {again})"

    def succeeded(self) -> None:
        """An edit was made."""
        self.faults, self.has_success = 0, True

    def failed(self, edit_id: str, origin: str, problem: InputError) -> str:
        """Why an edit is left out; written down where another try would end alike.

        The `problem` itself is raised where the pipeline has made nothing yet in this build, or
        failed `MAX_FAULTS` times in a row: then no photo is to blame.
        """
        reason = str(problem)
        if isinstance(problem, UnusableEdit):
            row = {"id": edit_id, "origin": origin, "reason": reason}
            append_line(self.folder / SKIPPED_NAME, row)
            self.reasons[edit_id] = reason
            return reason
        self.faults += 1
        if not self.has_success or self.faults >= MAX_FAULTS:
            raise problem
        return reason


def read_failures(folder: Path) -> Failures:
    """The failures of a pairs folder; a line that is no row of them is passed over."""
    path = folder / SKIPPED_NAME
    reasons: dict[str, str] = {}
    if os.path.lexists(path):
        try:
            lines = read_file(path, max_bytes=MAX_BYTES).split(b"\n")
        except UnusableFile as error:
            raise InputError(f"{show_path(path)} {error.reason}; remove it") from error
        for row in map(_parsed, lines):
            if isinstance(row, dict) and {"id", "reason"} <= row.keys():
                reasons[str(row["id"])] = str(row["reason"])
    return Failures(folder, reasons)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


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
