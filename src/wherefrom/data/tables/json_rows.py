"""The rows of a table in JSON, whether it is stored by row, by column, by file, or in an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
