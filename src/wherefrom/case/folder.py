"""Inspecting every image of a folder; answers are stored, so that an interrupted run continues.

The stored answers of an image are named by the digests of its bytes and of the case, and by the
version of the program.  They hold size and time of every indexed picture that they rest on.  If any
of these has changed, or a picture has gone or come back, the image is inspected again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom import __version__
from wherefrom.case.method import inspect_image
from wherefrom.case.parts.opened import OpenCase
from wherefrom.case.result import KIND, QUESTIONS, SCHEMA, State
from wherefrom.core.errors import InputError
from wherefrom.core.limits import Limits, limits_in_force
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import to_json
from wherefrom.core.saving.store import digest_bytes, write_file
from wherefrom.data.files.archives import read_file
from wherefrom.data.folders import list_images
from wherefrom.data.images.notebook import AsTable, Rows

MAX_STORED_BYTES = 16 * 2**20
STORED = ".inspections"  # beside the case file, after its name
UNREADABLE = 3
# The order of the rows: something was found, cannot say, nothing was found, not an image.
RANKS = {State.FOUND: 0, State.UNSURE: 1}
NOT_FOUND = 2  # the rank of every other state


@dataclass(frozen=True)
class InspectedFile:
    """One file of a folder: its inspection as JSON values, or the reason why there is none."""

    path: str
    inspection: Mapping[str, Any] | None
    reason: str = ""

    def state(self, question: str) -> str:
        """How the answer to one question ended; empty without an inspection."""
        for answer in self.inspection["answers"] if self.inspection else ():
            if answer["question"] == question:
                return str(answer["state"])
        return ""

    def findings(self) -> list[Mapping[str, Any]]:
        """The answers that found something about the image itself, most certain first."""
        answers = self.inspection["answers"] if self.inspection else ()
        hits = [a for a in answers if a["state"] == State.FOUND and a["question"] != "credit"]
        return sorted(hits, key=_p_of)

    def rank(self) -> tuple[int, float, int, str]:
        """The sort key: files with findings first, and the most certain of these first."""
        if self.inspection is None:
            return UNREADABLE, 0.0, 0, self.path
        hits = self.findings()
        best = min(RANKS.get(State(a["state"]), NOT_FOUND) for a in self.inspection["answers"][:4])
        return best, _p_of(hits[0]) if hits else 1.0, -len(hits), self.path


@dataclass(frozen=True)
class FolderInspection(AsTable):
    """All files, the most certain findings first; `reused`: how many an earlier run answered."""

    IMAGE = "path"

    rows: tuple[InspectedFile, ...]
    reused: int

    def to_dict(self) -> dict[str, Any]:
        rows = [
            {"path": row.path, "reason": row.reason, "inspection": row.inspection}
            for row in self.rows
        ]
        return {"kind": "wherefrom inspections", "schema": SCHEMA, "rows": rows}

    def as_table(self) -> tuple[Rows, str]:
        return self._rows(), "inspected images"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "path": row.path,
                **{question: row.state(question) for question in QUESTIONS},
                "reason": row.reason,
            }
            for row in self.rows
        ]


def inspect_folder(
    paths: Sequence[Path],
    opened: OpenCase,
    *,
    keep: Path | None = None,
    limits: Limits | None = None,
    track: Track = quiet,
) -> FolderInspection:
    """Inspect files and all images below folders; a file that cannot be read gets a reason.

    `keep`: a folder for the answers, made if it does not exist; default: beside the case file.
    After an interruption the next call with the same folder continues.
    """
    case = opened.case.path
    keep = case.with_name(case.name + STORED) if keep is None else keep
    files = list_images(paths)
    try:
        keep.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {show_path(keep)}: {error.strerror}") from error
    rows, reused = [], 0
    for path in track(files, "inspecting images", total=len(files)):
        row, was_stored = _inspect_file(path, opened, keep, limits)
        rows.append(row)
        reused += was_stored
    return FolderInspection(tuple(sorted(rows, key=InspectedFile.rank)), reused)


def _inspect_file(
    path: Path, opened: OpenCase, keep: Path, limits: Limits | None
) -> tuple[InspectedFile, bool]:
    try:
        limits = limits or limits_in_force()
        digest = digest_bytes(read_file(path, max_bytes=limits.max_bytes))
        place = keep / f"{_key(digest, opened.case.digest)}.json"
        stored = _read_stored(place, digest)
        if stored is not None:
            stored = {**stored, "image": {**stored["image"], "name": path.name}}
            return InspectedFile(str(path), stored), True
        inspection = inspect_image(path, opened, limits=limits)
    except InputError as error:
        return InspectedFile(str(path), None, str(error)), False
    payload = inspection.to_dict()
    if inspection.consulted is None:  # a question failed: it may not the next time
        return InspectedFile(str(path), payload), False
    states = {picture: _state(picture) for picture in inspection.consulted}
    try:
        write_file(place, to_json({"inspection": payload, "rests_on": states}).encode())
    except OSError as error:
        raise InputError(f"cannot write {show_path(place)}: {error.strerror}") from error
    return InspectedFile(str(path), payload), False


def _key(image: str, case: str) -> str:
    return digest_bytes(f"{SCHEMA}|{__version__}|{case}|{image}".encode()).partition(":")[2]


def _read_stored(place: Path, digest: str) -> dict[str, Any] | None:
    """The stored inspection at `place`; None if there is none that can be used."""
    if not place.is_file():
        return None
    try:
        stored = json.loads(read_file(place, max_bytes=MAX_STORED_BYTES))
    except (InputError, ValueError, RecursionError):
        return None  # incomplete or another format: inspected again
    if not isinstance(stored, dict) or not isinstance(stored.get("inspection"), dict):
        return None
    inspection, states = stored["inspection"], stored.get("rests_on")
    if (inspection.get("kind"), inspection.get("schema")) != (KIND, SCHEMA) or not isinstance(
        states, dict
    ):
        return None
    if any(_state(picture) != state for picture, state in states.items()):
        return None
    return inspection if inspection.get("image", {}).get("digest") == digest else None


def _state(picture: str) -> list[int] | None:
    """Size in bytes and time of change (ns) of a picture, None where it is not accessible."""
    try:
        status = Path(picture).stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _p_of(answer: Mapping[str, Any]) -> float:
    value = answer["certainty"]
    return math.inf if value is None else float(value)
