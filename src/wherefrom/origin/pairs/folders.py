"""Pairs of edits that were made elsewhere: matched to their origins by name, or by a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.data.tables.matching_names import find_file, spelled
from wherefrom.data.tables.records import read_records
from wherefrom.origin.index.places import digest_now
from wherefrom.origin.pairs.manifest import UNKNOWN_MODEL, PairRow, PairsManifest, origin_entry

MARK = "__"  # between the origin's name and the rest
NEEDED, OPTIONAL = ("edit", "origin"), ("model", "prompt")
MAX_TABLE_BYTES = 2**30


@dataclass(frozen=True)
class _Match:
    """An edit, its origin, and what a table says of it."""

    edit: Path
    origin: Path
    model: str = UNKNOWN_MODEL
    prompt: str | None = None


def pairs_from_folders(origins: Path, edits: Path, *, table: Path | None = None) -> PairsManifest:
    """The pairs of two folders; `write_pairs` puts the manifest into the folder of the edits.

    `table` is a CSV file or JSON lines with the columns edit, origin and, if wanted, model and
    prompt; its paths are relative to the two folders.  An edit that it does not list is named after
    its origin: `beach__anything.png` was made from `beach.jpg`.  One that fits no origin, or
    several, is in `skipped`.  No pair at all, or a table that names a missing file, is an
    `InputError`.
    """
    origins, edits = Path(origins), Path(edits)
    matches = {} if table is None else _read_table(Path(table), origins, edits)
    skipped: list[SkippedFile] = []
    by_stem: dict[str, list[Path]] = {}
    for origin in list_images([origins]):
        by_stem.setdefault(spelled(origin.stem), []).append(origin)
    for edit in list_images([edits]):
        if edit in matches:
            continue
        fitting = _fitting(spelled(edit.stem), by_stem)
        if len(fitting) == 1:
            matches[edit] = _Match(edit, fitting[0])
        else:
            skipped.append(SkippedFile(edit, _reason(fitting)))
    rows = _rows(matches.values(), edits, skipped)
    if not rows:
        path, reason = skipped[0]
        raise InputError(
            f"{show_path(edits)}: no edit fits an origin in {show_path(origins)}; name edits "
            f"ORIGIN{MARK}anything.png, or give a table (first problem: {path.name}: {reason})"
        )
    return PairsManifest(edits, tuple(rows), tuple(skipped))


def _fitting(stem: str, by_stem: dict[str, list[Path]]) -> list[Path]:
    """The origins whose name is the longest that `stem` begins with."""
    end = stem.rfind(MARK)
    while end > 0:
        if stem[:end] in by_stem:
            return by_stem[stem[:end]]
        end = stem.rfind(MARK, 0, end + len(MARK) - 1)
    return []


def _reason(fitting: list[Path]) -> str:
    if not fitting:
        return f"fits no origin: it is not named ORIGIN{MARK}anything"
    return f"fits several origins: {show_path(fitting[0])} and {show_path(fitting[1])}"


def _rows(matches: Iterable[_Match], folder: Path, skipped: list[SkippedFile]) -> list[PairRow]:
    """A row per pair of which both files can be read; the others go to `skipped`."""
    rows, digests = list[PairRow](), dict[Path, str]()
    for match in matches:
        try:
            for path in (match.origin, match.edit):
                if path not in digests:
                    digests[path] = digest_now(path)
        except UnusableFile as problem:
            skipped.append(SkippedFile(problem.path, problem.reason))
            continue
        rows.append(_row(match, digests, folder))
    return rows


def _row(match: _Match, digests: Mapping[Path, str], folder: Path) -> PairRow:
    entry = match.edit.relative_to(folder).as_posix()
    return PairRow(
        id=digest_bytes(entry.encode(errors="surrogateescape")).removeprefix("sha256:")[:24],
        origin=origin_entry(match.origin, folder),
        origin_digest=digests[match.origin],
        prompt=match.prompt,
        model=match.model,
        edit=entry,
        edit_digest=digests[match.edit],
    )


def _read_table(table: Path, origins: Path, edits: Path) -> dict[Path, _Match]:
    matches: dict[Path, _Match] = {}
    for line, entry in _entries(table):
        where = f"{show_path(table)}, line {line}"
        match = _Match(
            _inside(edits, entry["edit"], where),
            _inside(origins, entry["origin"], where),
            entry.get("model", "").strip() or UNKNOWN_MODEL,
            entry.get("prompt", "").strip() or None,
        )
        if match.edit in matches:
            raise InputError(
                f"{where} lists {entry['edit']!r} a second time; remove one of the two"
            )
        matches[match.edit] = match
    return matches


def _entries(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        records = read_records(table, max_bytes=MAX_TABLE_BYTES)
    except UnusableFile as error:
        raise InputError(f"{error}; give a table of edits and origins") from error
    columns = {name: records.column((name,)) for name in (*NEEDED, *OPTIONAL)}
    if any(columns[name] is None for name in NEEDED):
        raise InputError(
            f"{show_path(table)} has the columns {', '.join(records.columns) or '(none)'}; "
            f"expected {', '.join(NEEDED)} and, if wanted, {', '.join(OPTIONAL)}"
        )
    records.note_unused([column for column in columns.values() if column])
    for row in records.rows:
        yield row.line, {name: row.cells[column] for name, column in columns.items() if column}


def _inside(folder: Path, name: str, where: str) -> Path:
    inside = Path(os.path.normpath(name.strip().replace("\\", "/")))
    if inside.is_absolute() or ".." in inside.parts:
        raise InputError(f"{where}: {name!r} lies outside {show_path(folder)}; move it inside")
    path = find_file(folder, name)
    if path is None:
        raise InputError(f"{where}: there is no file {show_path(folder / name)}; correct the table")
    return path
