"""Edits that a pipeline could not make, which a continued build does not try again.

`skipped.jsonl` lies beside the manifest and has one line of JSON per edit.  An edit follows from
its id alone, so what failed once fails again; whoever wants another try removes the line.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.origin.pairs.manifest import append_line
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
