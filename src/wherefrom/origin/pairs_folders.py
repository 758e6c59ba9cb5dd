"""Pairs of edits that were made elsewhere: matched to their origins by name, or by a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.store import digest_bytes, digest_file
from wherefrom.data.files import UnusableFile, read_regular, show_path
from wherefrom.data.folders import list_images
from wherefrom.origin.pairs import UNKNOWN_MODEL, PairRow, PairsManifest, origin_entry

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

    `table` is a CSV file with the columns edit, origin and, if wanted, model and prompt; its paths
    are relative to the two folders.  An edit that it does not list is named after its origin:
    `beach__anything.png` was made from `beach.jpg`.  One that fits no origin, or several, is in
    `skipped`.  No pair at all, or a table that names a missing file, is an `InputError`.
    """
    origins, edits = Path(origins), Path(edits)
    matches = {} if table is None else _read_table(Path(table), origins, edits)
    skipped: list[tuple[Path, str]] = []
    by_stem: dict[str, list[Path]] = {}
    for origin in list_images([origins]):
        by_stem.setdefault(origin.stem, []).append(origin)
    for edit in list_images([edits]):
        if edit in matches:
            continue
        fitting = _fitting(edit.stem, by_stem)
        if len(fitting) == 1:
            matches[edit] = _Match(edit, fitting[0])
        else:
            skipped.append((edit, _reason(fitting)))
    if not matches:
        path, reason = skipped[0]
        raise InputError(
            f"{show_path(edits)}: no edit fits an origin in {show_path(origins)}; name edits "
            f"ORIGIN{MARK}anything.png, or give a table (first problem: {path.name}: {reason})"
        )
    digests = {match.origin: digest_file(match.origin) for match in matches.values()}
    rows = [_row(match, digests[match.origin], edits) for match in matches.values()]
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


def _row(match: _Match, origin_digest: str, folder: Path) -> PairRow:
    entry = match.edit.relative_to(folder).as_posix()
    return PairRow(
        id=digest_bytes(entry.encode(errors="surrogateescape")).removeprefix("sha256:")[:24],
        origin=origin_entry(match.origin, folder),
        origin_digest=origin_digest,
        prompt=match.prompt,
        model=match.model,
        edit=entry,
        edit_digest=digest_file(match.edit),
    )


def _read_table(table: Path, origins: Path, edits: Path) -> dict[Path, _Match]:
    matches: dict[Path, _Match] = {}
    for line, entry in _entries(table):
        where = f"{show_path(table)}, line {line}"
        match = _Match(
            _inside(edits, entry["edit"], where),
            _inside(origins, entry["origin"], where),
            entry.get("model") or UNKNOWN_MODEL,
            entry.get("prompt") or None,
        )
        if match.edit in matches:
            raise InputError(
                f"{where} lists {entry['edit']!r} a second time; remove one of the two"
            )
        matches[match.edit] = match
    return matches


def _entries(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = read_regular(table, max_bytes=MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{show_path(table)} is not UTF-8 text; save it as UTF-8") from error
    except UnusableFile as error:
        raise InputError(f"{error}; give a CSV file of edits and origins") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = list(reader.fieldnames or [])
        if not set(NEEDED) <= set(names) <= {*NEEDED, *OPTIONAL}:
            raise InputError(
                f"{show_path(table)} has the columns {', '.join(names) or '(none)'}; expected "
                f"{', '.join(NEEDED)} and, if wanted, {', '.join(OPTIONAL)}"
            )
        for entry in reader:
            if None in entry or None in entry.values():
                raise InputError(
                    f"{show_path(table)}, line {reader.line_num} has not {len(names)} columns; "
                    "put a text with a comma into quotes"
                )
            yield reader.line_num, entry
    except csv.Error as error:
        raise InputError(
            f"{show_path(table)}, after line {reader.line_num}: {error}; mend the table"
        ) from error


def _inside(folder: Path, name: str, where: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{where}: {name!r} lies outside {show_path(folder)}; move it inside")
    if not path.is_file():
        raise InputError(f"{where}: there is no file {show_path(path)}; mend the table")
    return path
