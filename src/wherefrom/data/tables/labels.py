"""Reading labels of images from a table: one column of classes, or several of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.tables.matching_names import ImageNames
from wherefrom.data.tables.records import (
    CLASS_COLUMNS,
    FILE_COLUMNS,
    Record,
    Records,
    is_vector,
    read_records,
)

_BITS = {"0": 0, "1": 1, "-1": 0, "false": 0, "true": 1, "0.0": 0, "1.0": 1, "-1.0": 0}
MIN_ATTRIBUTE_SHARE = 0.5  # of 0 and 1 among a column's cells; the others are then mistakes


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of images in their order.

    `values`: int64 (N,) with classes numbered in the order of their sorted names, or (N, A) of 0
    and 1.  `names`: of the classes, or of the A attributes.  `unused`: rows that name no image.
    """

    values: Tensor
    names: tuple[str, ...]
    unused: int


def read_labels(path: Path, images: Sequence[Path], root: Path) -> Labels:
    """Labels of `images` from a table with a header, JSON lines or a dataset.json.

    The column file_name, image or path names the images, else the first column, as `ImageNames`
    matches them.  The column label or class holds the classes, or the only other column; without
    one, the columns of 0 and 1 (or -1 and 1) are attributes.  A note names the columns not used.
    An image without a row, an empty cell, or a class without any image is an `InputError`.
    """
    records = read_records(path)
    if len(records.columns) < 2:
        raise UnusableFile(
            path,
            "needs a header with a column of file names and one of labels, parted by commas, "
            "semicolons, tabs or bars",
        )
    named_by = records.column(FILE_COLUMNS) or records.columns[0]
    if ImageNames(images, root, path).places([named_by]) != [None]:
        raise UnusableFile(
            path, f"has no header: its first line names {named_by}; add a line as file_name,label"
        )
    used = _label_columns(records, named_by)
    rows, unused = _rows_of_images(records, named_by, used, images, root)
    records.note_unused([named_by, *used])
    cells = [[row.cells[name].strip() for name in used] for row in rows]
    if len(used) > 1:
        return Labels(_attributes(path, used, cells), tuple(used), len(unused))
    _refuse_vectors(records, used[0])
    classes = {row[0] for row in cells}
    empty = {row.cells[used[0]].strip() for row in unused} - classes
    if empty:
        raise UnusableFile(
            path, f"names the class {min(empty)!r}, but none of its images is there; remove it"
        )
    names = sorted(classes)
    numbers = {name: place for place, name in enumerate(names)}
    values = torch.tensor([numbers[row[0]] for row in cells])
    return Labels(values, tuple(names), len(unused))


def _label_columns(records: Records, named_by: str) -> list[str]:
    """The column of classes, or those of attributes."""
    rest = [name for name in records.columns if name != named_by]
    stated = records.column(CLASS_COLUMNS)
    if stated is not None and stated != named_by:
        return [stated]
    if len(rest) == 1:
        return rest
    attributes = [name for name in rest if _bits(records, name) > MIN_ATTRIBUTE_SHARE]
    if not attributes:
        raise UnusableFile(
            records.path,
            f"has the columns {', '.join(rest)}, none called label or class and none of 0 and 1; "
            "name the column of classes 'label'",
        )
    return attributes


def _refuse_vectors(records: Records, column: str) -> None:
    """An `UnusableFile` for a list or an object in the place of a class."""
    for row in records.rows:
        cell = row.cells[column].strip()
        if is_vector(cell):
            raise UnusableFile(
                records.path,
                f"line {row.line}: {cell[:40]!r} is no class; expected one word or number for "
                "each image",
            )


def _bits(records: Records, column: str) -> float:
    """The share of a column's filled cells that are 0, 1, -1, true or false."""
    cells = [row.cells[column].strip().lower() for row in records.rows]
    filled = [cell for cell in cells if cell]
    return sum(cell in _BITS for cell in filled) / max(1, len(filled))


def _rows_of_images(
    records: Records, named_by: str, used: Sequence[str], images: Sequence[Path], root: Path
) -> tuple[list[Record], list[Record]]:
    """The row of each image, in their order, and the rows that name none."""
    path = records.path
    if not images:
        raise UnusableFile(path, "is given labels for no image")
    needed = (named_by, *used)
    for row in records.rows:
        if not all(row.cells[name].strip() for name in needed):
            cells = list(row.cells.values())
            raise UnusableFile(path, f"line {row.line} needs {len(needed)} filled cells: {cells}")
    places = ImageNames(images, root, path).places([row.cells[named_by] for row in records.rows])
    by_place: dict[int, Record] = {}
    unused = []
    for row, place in zip(records.rows, places, strict=True):
        if place is None:
            unused.append(row)
        elif place in by_place:
            raise UnusableFile(path, f"line {row.line} names {row.cells[named_by]!r} a second time")
        else:
            by_place[place] = row
    missing = [image for place, image in enumerate(images) if place not in by_place]
    if missing:
        guessed = f" ({records.guess})" if records.guess else ""
        first = f"; the table names {unused[0].cells[named_by]!r}, for example" if unused else ""
        raise UnusableFile(
            path,
            f"has no row for {len(missing)} of {len(images)} images, the first "
            f"{show_path(missing[0])}{first}{guessed}; add them, or move the images away",
        )
    return [by_place[place] for place in range(len(images))], unused


def _attributes(path: Path, names: Sequence[str], cells: Sequence[Sequence[str]]) -> Tensor:
    for row in cells:
        for name, cell in zip(names, row, strict=True):
            if cell.lower() not in _BITS:
                raise InputError(f"{show_path(path)}: {name!r} is {cell!r}; attributes are 0 or 1")
    return torch.tensor([[_BITS[cell.lower()] for cell in row] for row in cells])
