"""Reading rows of numbers from files: CSV and the like, and numpy's .npy for signals.

Rows and files that cannot be used are listed with the reason; the others are read.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.folders import list_files
from wherefrom.data.tables.records import decode_text, separator_of

DELIMITERS = {".csv": ",;\t", ".tsv": "\t", ".txt": ",;\t "}
MAX_BYTES = 256 * 2**20
ARRAY = ".npy"


@dataclass(frozen=True, eq=False)
class RowBatch:
    """The usable rows of some files, in the order of the files and of their rows."""

    values: Tensor  # (N, *shape) float32
    names: tuple[str, ...]  # file:line, or file[index] of an array
    digests: tuple[str, ...]  # of each row's float32 values
    skipped: tuple[SkippedFile, ...]  # files and rows
    columns: tuple[str, ...] | None  # of the first file that names them


@dataclass(frozen=True)
class _Row:
    name: str
    values: tuple[float, ...]
    problem: str = ""


def read_rows(
    paths: Sequence[Path],
    shape: tuple[int, int, int],
    *,
    columns: Sequence[str] | None = None,
    drop_duplicates: bool = False,
    at_least: int = 1,
) -> RowBatch:
    """Read tables into rows of `shape`: (1, 1, D) for D columns, (C, 1, T) for signals in a .npy.

    A first line that holds no number names the columns: they must be those of `columns`, and of
    the other files.  Rows with a gap, a word or a value that is not finite are skipped, and so is a
    file that cannot be read; fewer than `at_least` usable rows are an `InputError` that quotes the
    first problem.
    """
    rows: list[_Row] = []
    skipped: list[SkippedFile] = []
    named = tuple(columns) if columns else None
    for path in _list_tables(paths):
        try:
            more, names = _read_one(path, shape)
            if names is not None and named is not None and names != named:
                raise UnusableFile(path, _other_columns(names, named))
        except UnusableFile as error:
            skipped.append(SkippedFile(path, error.reason))
            continue
        named = named or names
        rows += more
    usable: dict[str, _Row] = {}
    for index, row in enumerate(rows):
        if row.problem:
            skipped.append(SkippedFile(Path(row.name), row.problem))
            continue
        digest = digest_bytes(np.asarray(row.values, dtype="<f4").tobytes())
        if not drop_duplicates:
            usable[f"{digest} {index}"] = row
        elif digest in usable:
            skipped.append(
                SkippedFile(Path(row.name), f"the same numbers as {usable[digest].name}")
            )
        else:
            usable[digest] = row
    if len(usable) < at_least:
        first = f"; the first problem: {skipped[0]}" if skipped else ""
        raise InputError(f"{len(usable)} usable rows, at least {at_least} are needed{first}")
    values = torch.tensor([row.values for row in usable.values()], dtype=torch.float32)
    return RowBatch(
        values.reshape(len(usable), *shape),
        tuple(row.name for row in usable.values()),
        tuple(key.partition(" ")[0] for key in usable),
        tuple(skipped),
        named,
    )


def _list_tables(paths: Sequence[Path]) -> list[Path]:
    """The files as given, and the tables directly inside each folder, sorted; each once."""
    known = (*DELIMITERS, ARRAY)
    return list_files(
        paths,
        lambda folder: [file for file in sorted(folder.iterdir()) if file.suffix.lower() in known],
        f"no table in this folder (looked for {' '.join(known)})",
    )


def _read_one(path: Path, shape: tuple[int, int, int]) -> tuple[list[_Row], tuple[str, ...] | None]:
    suffix = path.suffix.lower()
    if suffix != ARRAY and suffix not in DELIMITERS:
        known = " ".join((*DELIMITERS, ARRAY))
        raise UnusableFile(path, f"is not a table (known: {known})")
    data = read_file(path, max_bytes=MAX_BYTES)
    if suffix == ARRAY:
        return _read_array(path, data, shape), None
    if shape[0] > 1:
        raise UnusableFile(path, f"is a table, but signals of {shape[0]} channels come in a .npy")
    return _read_text(path, data, shape[2])


def _read_array(path: Path, data: bytes, shape: tuple[int, int, int]) -> list[_Row]:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises whatever hostile bytes provoke
        raise UnusableFile(path, f"is not a readable .npy: {error}") from error
    wanted = tuple(size for size in shape if size > 1) or (1,)
    if (
        array.dtype.kind not in "fiu"
        or array.ndim < 1
        or array.size != len(array) * math.prod(shape)
    ):
        raise UnusableFile(
            path,
            f"holds {array.dtype} of shape {array.shape}, expected numbers of shape (N, "
            f"{', '.join(map(str, wanted))})",
        )
    flat = array.reshape(len(array), -1).astype(np.float32)
    finite = np.isfinite(flat).all(axis=1)
    return [
        _Row(f"{show_path(path)}[{i}]", tuple(row), "" if ok else "holds NaN or infinity")
        for i, (row, ok) in enumerate(zip(flat.tolist(), finite, strict=True))
    ]


def _read_text(path: Path, data: bytes, count: int) -> tuple[list[_Row], tuple[str, ...] | None]:
    text, _ = decode_text(path, data)  # of numbers, so that a guess at letters changes none
    lines = list(_cells(path, text))
    names = None
    if lines and not any(map(_is_number, lines[0][1])):
        names = tuple(cell.strip() for cell in lines[0][1])
        if len(names) != count:
            raise UnusableFile(path, f"has {len(names)} columns, the model makes {count}")
        lines = lines[1:]
    if not lines:
        raise UnusableFile(path, "holds no row of numbers")
    titles = names or tuple(f"column {i + 1}" for i in range(count))
    return [_row(f"{show_path(path)}:{line}", cells, titles) for line, cells in lines], names


def _cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not empty."""
    delimiter = separator_of(text, DELIMITERS[path.suffix.lower()])
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UnusableFile(path, f"is not a readable table: {error}") from error


def _row(name: str, cells: Sequence[str], titles: Sequence[str]) -> _Row:
    if len(cells) != len(titles):
        return _Row(name, (), f"{len(cells)} cells, the model makes {len(titles)} columns")
    for cell, title in zip(cells, titles, strict=True):
        if not cell.strip():
            return _Row(name, (), f"nothing stands in {title!r}")
        if not _is_number(cell) or not math.isfinite(float(cell)):
            return _Row(name, (), f"{title!r} holds {cell[:40]!r}, expected a number")
    return _Row(name, tuple(float(cell) for cell in cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _other_columns(names: Sequence[str], wanted: Sequence[str]) -> str:
    if sorted(names) == sorted(wanted):
        return f"has its columns in another order; put them as {', '.join(wanted)}"
    odd = next(name for name in (*names, *wanted) if (name in names) != (name in wanted))
    whose = "has" if odd in names else "lacks"
    return f"{whose} the column {odd!r}; the columns are {', '.join(wanted)}"
