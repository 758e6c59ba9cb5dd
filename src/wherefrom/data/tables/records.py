"""Reading the rows of a user's table as text: CSV of any dialect, JSON lines, dataset.json.

Separator (comma, semicolon, tab, bar), encoding (UTF-8, UTF-16, Windows-1252) and byte-order mark
are detected.  Every cell is a string; the caller decides what a column means.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wherefrom.core.paths import show_path
from wherefrom.core.progress import add_note
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile

_LISTS = ("data", "rows", "images", "items", "annotations")  # fields that hold all rows
MAX_NAMED = 4


def rows_in(path: Path, value: Any, file_columns: Sequence[str]) -> list[Any]:
    """The rows of a table that was read from the JSON file `path`; most are objects.

    Read are a list of rows or of pairs (name, class), a single row, lists or numbered objects by
    column, the labels of a dataset.json, an object with a list of rows, and classes or fields by
    file name.  Anything else is an `UnusableFile`.
    """
    if isinstance(value, list):
        return _pairs(value)
    if not isinstance(value, dict):
        raise UnusableFile(path, "is JSON, but neither a list of rows nor labels by file name")
    named_by = next((name for name in value if name.casefold() in file_columns), None)
    if named_by is not None and isinstance(value[named_by], str):
        return [value]
    if named_by is not None and (rows := _from_columns(value)):
        return rows
    if isinstance(value.get("labels"), (list, dict)):
        return _pairs(value["labels"])
    if {"images", "annotations"} <= set(value):
        raise UnusableFile(path, "is a COCO file; expected a table with one row for each image")
    for name in _LISTS:
        held = value.get(name)
        if isinstance(held, list) and held and all(isinstance(row, dict) for row in held):
            return held
    nested = [isinstance(fields, (list, dict)) for fields in value.values()]
    if "labels" in value or (any(nested) and not all(nested)):
        shown = ", ".join(list(value)[:MAX_NAMED])
        raise UnusableFile(
            path,
            f"is JSON of another shape ({shown}); expected a list of rows, or labels by file name",
        )
    return _from_names(value, file_columns)


def _pairs(labels: Any) -> list[Any]:
    """Rows of pairs [[name, class], ...] or of {name: class}; other lists as they are."""
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return list(pairs)
    return [{"file_name": name, "label": label} for name, label in pairs]


def _from_columns(value: Mapping[str, Any]) -> list[Any]:
    """Rows of {column: [cell, ...]} or {column: {place: cell}}; none if it is neither."""
    columns = [
        list(cells.values()) if isinstance(cells, dict) else cells for cells in value.values()
    ]
    if not all(isinstance(cells, list) for cells in columns) or len(set(map(len, columns))) > 1:
        return []
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def _from_names(value: Mapping[str, Any], file_columns: Sequence[str]) -> list[Any]:
    """Rows of {name: class} or {name: {column: cell}}."""
    if not all(isinstance(fields, dict) for fields in value.values()):
        return _pairs(value)
    return [
        fields
        if any(name.casefold() in file_columns for name in fields)
        else {"file_name": key, **fields}
        for key, fields in value.items()
    ]


MAX_TABLE_BYTES = 256 * 2**20
SEPARATORS = ",;\t|"
FILE_COLUMNS = (
    "file_name", "filename", "path", "image", "image_path", "file", "file_path", "filepath",
    "image_file", "image_name", "image_id", "img", "img_path", "name",
)  # fmt: skip
CLASS_COLUMNS = ("label", "class", "class_name", "category", "labels", "target", "class_id")
PROMPT_COLUMNS = ("prompt", "caption", "text")
_JSON = (".json", ".jsonl", ".ndjson")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SEPARATOR_LINE = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)
_BINARY = {
    b"PK\3\4": "an Excel workbook or another zip archive",
    b"PAR1": "a Parquet table",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
}


@dataclass(frozen=True)
class Record:
    """One row: the number of its last line, counted from 1, and its unchanged cells by column."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Records:
    """A table: its columns and rows in order; `guess` states an encoding that was assumed."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Record, ...]
    guess: str = ""

    def column(self, names: Sequence[str]) -> str | None:
        """The first of `names` that is a column here, whatever its case; None if none is."""
        known = {column.casefold(): column for column in reversed(self.columns)}
        return next((known[name] for name in names if name in known), None)

    def note_unused(self, used: Sequence[str]) -> None:
        """Add a note that names the columns besides those `used`, if there are any."""
        others = [name for name in self.columns if name not in used]
        if others:
            noun = "column" if len(others) == 1 else "columns"
            add_note(f"{show_path(self.path)}: not used: the {noun} {', '.join(others)}")


def read_records(path: Path, *, max_bytes: int = MAX_TABLE_BYTES) -> Records:
    """The rows of a table with a header, of JSON lines, or of a list of objects in JSON.

    A row with more cells than columns, an unclosed quote, and anything that is no table, are an
    `UnusableFile`; cells that are missing at the end of a row are empty.
    """
    data = read_file(path, max_bytes=max_bytes)
    for start, kind in _BINARY.items():
        if data.startswith(start):
            raise UnusableFile(path, f"is {kind}, expected text; save it as CSV in UTF-8")
    text, guess = decode_text(path, data)
    if guess:
        add_note(f"{show_path(path)}: {guess}")
    if path.suffix.lower() in _JSON or text.lstrip()[:1] in ("{", "["):
        return _from_objects(path, _objects(path, text), guess)
    return _from_cells(path, text, guess)


def decode_text(path: Path, data: bytes) -> tuple[str, str]:
    """Decode a file; returns the text, and a sentence on its encoding if that was a guess.

    UTF-8 and UTF-16 are read with a mark or without, other bytes as Windows-1252, which contains
    Latin-1.  Bytes that are no text are an `UnusableFile`.
    """
    encoding, guess = _encoding(data), ""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise UnusableFile(path, f"is not text in UTF-8, and damaged as {encoding}") from error
        guess = "it is not UTF-8 and was read as Windows-1252"
        text = data.decode("cp1252", errors="replace")
    if "\0" in text:
        raise UnusableFile(path, "is not text: it holds zero bytes; save it as CSV in UTF-8")
    return text, guess


def _encoding(data: bytes) -> str:
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = data[:4096]
    if b"\0" in start:  # Latin letters in UTF-16 have a zero byte behind or before each
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return "utf-8-sig"


def separator_of(text: str, candidates: str = SEPARATORS) -> str:
    """The candidate that occurs most often outside quotes in the first line that is not empty."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    plain = _QUOTED.sub("", first)
    return max(candidates, key=plain.count)


def _from_cells(path: Path, text: str, guess: str) -> Records:
    lines = text.splitlines(keepends=True)
    declared = _SEPARATOR_LINE.match(lines[0]) if lines else None
    separator = declared[1] if declared else separator_of(text)
    body = "".join(lines[1:]) if declared else text
    try:
        rows = _split(body, separator, csv.QUOTE_MINIMAL)
    except csv.Error as error:
        if separator != "\t":
            raise UnusableFile(path, f"is not a readable CSV file: {error}") from error
        rows = _split(body, separator, csv.QUOTE_NONE)  # tabs often come without quoting
    if declared:
        rows = [(line + 1, cells) for line, cells in rows]
    if not rows:
        return Records(path, (), (), guess)
    header = [cell.strip() for cell in rows[0][1]]
    while header and not header[-1]:  # spreadsheets end lines with empty cells
        header.pop()
    header = [name or f"column {place}" for place, name in enumerate(header, start=1)]
    if len(set(header)) < len(header):
        raise UnusableFile(path, f"has several columns of one name: {', '.join(header)}")
    return Records(path, tuple(header), tuple(_records(path, header, rows[1:])), guess)


def _split(text: str, separator: str, quoting: Literal[0, 3]) -> list[tuple[int, list[str]]]:
    """(line, cells) of every line that is not empty."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
    return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]


def _records(
    path: Path, header: Sequence[str], rows: Iterable[tuple[int, list[str]]]
) -> Iterable[Record]:
    for line, cells in rows:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise UnusableFile(
                path,
                f"line {line} needs {len(header)} filled cells and has {len(cells)}: {cells!r}; "
                "put a text that holds the separator into quotes",
            )
        filled = cells[: len(header)] + [""] * (len(header) - len(cells))
        yield Record(line, dict(zip(header, filled, strict=True)))


def _objects(path: Path, text: str) -> list[tuple[int, Any]]:
    """(line, value) of lines of JSON, or of a table in any shape of `json_rows`."""
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            return _lines_of_json(text)
        try:
            value = json.loads(text)
        except ValueError:
            return _lines_of_json(text)
    except (ValueError, RecursionError) as error:
        raise UnusableFile(path, f"is not readable JSON: {error}") from error
    return list(enumerate(rows_in(path, value, FILE_COLUMNS), start=1))


def _lines_of_json(text: str) -> list[tuple[int, Any]]:
    lines = enumerate(text.split("\n"), start=1)
    return [(number, json.loads(line)) for number, line in lines if line.strip()]


def _from_objects(path: Path, objects: Sequence[tuple[int, Any]], guess: str) -> Records:
    columns: dict[str, None] = {}
    for line, value in objects:
        if not isinstance(value, dict):
            raise UnusableFile(path, f"row {line} is {str(value)[:40]!r}, expected an object")
        columns.update(dict.fromkeys(map(str, value)))
    rows = [
        Record(line, {name: _cell(value.get(name)) for name in columns}) for line, value in objects
    ]
    return Records(path, tuple(columns), tuple(rows), guess)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_vector(cell: str) -> bool:
    """Whether a cell holds a list or an object of JSON, which is no class."""
    if not cell.startswith(("[", "{")):
        return False
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True
