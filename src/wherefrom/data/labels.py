"""Labels of images from a CSV file: one column of classes, or several of 0 and 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.files import UnusableFile, read_regular, show_path

MAX_LABEL_BYTES = 256 * 2**20


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
    """Labels of `images` from a CSV file with a header; its first column names the images.

    A name is a path below `root`, or a file name alone where no two images share it.  One more
    column holds classes by any names; several hold attributes as 0 or 1.  An image without a row,
    an empty cell, or a class all of whose images are missing, is an `InputError`.
    """
    header, rows = _read_rows(path)
    places = _places(path, images, root)
    found: dict[int, list[str]] = {}
    unused: list[list[str]] = []
    for number, row in rows:
        if len(row) != len(header) or not all(cell.strip() for cell in row):
            raise UnusableFile(path, f"line {number} needs {len(header)} filled cells: {row!r}")
        place = places.get(row[0].strip())
        if place is None:
            unused.append(row[1:])
        elif place in found:
            raise UnusableFile(path, f"line {number} names {row[0]!r} a second time")
        else:
            found[place] = [cell.strip() for cell in row[1:]]
    missing = [image for place, image in enumerate(images) if place not in found]
    if missing:
        raise UnusableFile(
            path,
            f"has no row for {len(missing)} of {len(images)} images, the first "
            f"{show_path(missing[0])}; add them, or move the images away",
        )
    cells = [found[place] for place in range(len(images))]
    if len(header) > 2:
        return Labels(_attributes(path, header, cells), tuple(header[1:]), len(unused))
    named = {row[0] for row in cells}
    empty = {row[0].strip() for row in unused} - named
    if empty:
        raise UnusableFile(
            path, f"names the class {min(empty)!r}, but none of its images is there; remove it"
        )
    names = sorted(named)
    numbers = {name: place for place, name in enumerate(names)}
    values = torch.tensor([numbers[row[0]] for row in cells])
    return Labels(values, tuple(names), len(unused))


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    data = read_regular(path, max_bytes=MAX_LABEL_BYTES)
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnusableFile(path, f"is not a readable CSV file: {error}") from error
    if not lines or len(lines[0][1]) < 2:
        raise UnusableFile(path, "needs a header with a column of file names and one of labels")
    return [cell.strip() for cell in lines[0][1]], lines[1:]


def _places(path: Path, images: Sequence[Path], root: Path) -> dict[str, int]:
    """Every name by which an image may be called, and its place."""
    names: dict[str, int] = {}
    twice = set()
    for place, image in enumerate(images):
        if image.name in names:
            twice.add(image.name)
        names[image.name] = place
    for name in twice:
        del names[name]
    for place, image in enumerate(images):
        names[image.relative_to(root).as_posix() if image.is_relative_to(root) else str(image)] = (
            place
        )
    if not names:
        raise UnusableFile(path, "is given labels for no image")
    return names


def _attributes(path: Path, header: Sequence[str], cells: Sequence[Sequence[str]]) -> Tensor:
    for row in cells:
        for name, cell in zip(header[1:], row, strict=True):
            if cell not in ("0", "1"):
                raise InputError(f"{show_path(path)}: {name!r} is {cell!r}; attributes are 0 or 1")
    return torch.tensor([[int(cell) for cell in row] for row in cells])
