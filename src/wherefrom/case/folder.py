"""Every image of a folder, one after another; what was done is kept, so that a run goes on.

What is kept of an image is named by the digests of its bytes and of the case, and by the version
of the program, and holds size and time of every picture of an index that the answers rest on.  If
any of these is another one, or a picture is gone or back, the image is asked anew.
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
from wherefrom.case.opened import OpenCase
from wherefrom.case.result import KIND, SCHEMA, State
from wherefrom.core.errors import InputError
from wherefrom.core.json_text import to_json
from wherefrom.core.limits import Limits, limits_in_force
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_bytes, write_file
from wherefrom.data.files.opening import read_regular
from wherefrom.data.folders import list_images

MAX_KEPT_BYTES = 16 * 2**20
UNREADABLE = 3
# Worst first: something was found, it cannot be said, nothing was found, it is no image.
RANKS = {State.FOUND: 0, State.UNSURE: 1}
NOTHING = 2  # the rank of every other state


@dataclass(frozen=True)
class Row:
    """One file: an inspection in JSON values, or why there is none."""

    path: str
    inspection: Mapping[str, Any] | None
    reason: str = ""

    def state(self, question: str) -> str:
        """How the answer to one question ended; empty without an inspection."""
        for answer in self.inspection["answers"] if self.inspection else ():
            if answer["question"] == question:
                return str(answer["state"])
        return ""

    def found(self) -> list[Mapping[str, Any]]:
        """The answers that found something about the image itself, most certain first."""
        answers = self.inspection["answers"] if self.inspection else ()
        hits = [a for a in answers if a["state"] == State.FOUND and a["question"] != "credit"]
        return sorted(hits, key=_p_of)

    def rank(self) -> tuple[int, float, int, str]:
        """Sorts the worst first, and among these the most certain."""
        if self.inspection is None:
            return UNREADABLE, 0.0, 0, self.path
        hits = self.found()
        best = min(RANKS.get(State(a["state"]), NOTHING) for a in self.inspection["answers"][:4])
        return best, _p_of(hits[0]) if hits else 1.0, -len(hits), self.path


@dataclass(frozen=True)
class FolderInspection:
    """All files, worst and most certain first; `kept` of them were known from an earlier run."""

    rows: tuple[Row, ...]
    kept: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rows = [
            {"path": row.path, "reason": row.reason, "inspection": row.inspection}
            for row in self.rows
        ]
        return {"kind": "wherefrom inspections", "schema": SCHEMA, "rows": rows}


def inspect_folder(
    paths: Sequence[Path],
    opened: OpenCase,
    *,
    keep: Path,
    limits: Limits | None = None,
    track: Track = quiet,
) -> FolderInspection:
    """Ask the case about files and the images below folders; a broken file never stops it.

    `keep`: a folder for the answers, made if need be.  Killed at any time, the next call goes on.
    """
    files = list_images(paths)
    try:
        keep.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {show_path(keep)}: {error.strerror}") from error
    rows, known = [], 0
    for path in track(files, "inspecting images", total=len(files)):
        row, was_kept = _row(path, opened, keep, limits)
        rows.append(row)
        known += was_kept
    return FolderInspection(tuple(sorted(rows, key=Row.rank)), known)


def _row(path: Path, opened: OpenCase, keep: Path, limits: Limits | None) -> tuple[Row, bool]:
    try:
        limits = limits or limits_in_force()
        digest = digest_bytes(read_regular(path, max_bytes=limits.max_bytes))
        place = keep / f"{_key(digest, opened.case.digest)}.json"
        told = _read_kept(place, digest)
        if told is not None:
            told = {**told, "image": {**told["image"], "name": path.name}}
            return Row(str(path), told), True
        inspection = inspect_image(path, opened, limits=limits)
    except InputError as error:
        return Row(str(path), None, str(error)), False
    payload = inspection.to_dict()
    if inspection.consulted is None:  # a question failed: it may not the next time
        return Row(str(path), payload), False
    states = {picture: _state(picture) for picture in inspection.consulted}
    try:
        write_file(place, to_json({"inspection": payload, "rests_on": states}).encode())
    except OSError as error:
        raise InputError(f"cannot write {show_path(place)}: {error.strerror}") from error
    return Row(str(path), payload), False


def _key(image: str, case: str) -> str:
    return digest_bytes(f"{SCHEMA}|{__version__}|{case}|{image}".encode()).partition(":")[2]


def _read_kept(place: Path, digest: str) -> dict[str, Any] | None:
    """What was kept, None if there is nothing usable."""
    if not place.is_file():
        return None
    try:
        found = json.loads(read_regular(place, max_bytes=MAX_KEPT_BYTES))
    except (InputError, ValueError, RecursionError):
        return None  # cut short or foreign: it is asked again
    if not isinstance(found, dict) or not isinstance(found.get("inspection"), dict):
        return None
    told, states = found["inspection"], found.get("rests_on")
    if (told.get("kind"), told.get("schema")) != (KIND, SCHEMA) or not isinstance(states, dict):
        return None
    if any(_state(picture) != state for picture, state in states.items()):
        return None
    return told if told.get("image", {}).get("digest") == digest else None


def _state(picture: str) -> list[int] | None:
    """Size in bytes and time of change (ns) of a picture, None where it cannot be looked at."""
    try:
        status = Path(picture).stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _p_of(answer: Mapping[str, Any]) -> float:
    value = answer["certainty"]
    return math.inf if value is None else float(value)
