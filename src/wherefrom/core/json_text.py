"""JSON text that every parser reads: a number that is NaN or infinite is `null`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(value: Any, *, indent: int | None = 1, ensure_ascii: bool = True) -> str:
    """The value as JSON text, with `null` for every float that is NaN or infinite.

    `value`: mappings, lists, tuples, texts, numbers (numpy's too), booleans and None; a `TypeError`
    for anything else.  JSON has no other way to write such a number, and `NaN` stops most parsers.
    The reason for it stands in a field beside it.
    """
    return json.dumps(finite(value), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def finite(value: Any) -> Any:
    """The same value, with None for every float that is NaN or infinite.

    `value` as in `to_json`; tuples become lists, numpy's scalars Python's.
    """
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_finite_key(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def _finite_key(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
