"""JSON text in which NaN and infinite numbers are `null`, as every parser can read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from wherefrom.core.errors import InputError


def to_json(value: Any, *, indent: int | None = 1, ensure_ascii: bool = True) -> str:
    """The value as JSON text, with `null` for every float that is NaN or infinite.

    `value`: mappings, lists, tuples, texts, numbers (numpy's too), booleans and None; a `TypeError`
    for anything else.  JSON cannot write such a number, and most parsers stop at `NaN`.
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


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one JSON text of a mapping, its keys sorted; an `InputError` for what is not JSON."""
    try:
        return json.dumps(dict(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected JSON values: {error}") from error


def digest_json(value: Mapping[str, Any]) -> str:
    """SHA-256 of `canonical_json`, as hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _finite_key(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
