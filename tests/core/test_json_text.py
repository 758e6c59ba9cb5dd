"""JSON without NaN and infinity."""

import json

import numpy as np
import pytest

from wherefrom.core.saving.json_text import to_json


def refuse(name):
    raise AssertionError(f"{name} is no JSON")


def test_numbers_that_json_has_not_are_null__closed_form():
    nan, inf = float("nan"), float("inf")
    given = {"a": nan, "b": [1.5, -inf, {"c": (inf, 2)}], "d": None, "e": True, "f": "NaN"}
    read = json.loads(to_json(given), parse_constant=refuse)
    assert read == {"a": None, "b": [1.5, None, {"c": [None, 2]}], "d": None, "e": True, "f": "NaN"}


def test_what_json_can_write_is_written_as_before__reference_json():
    given = {"é": [1, 2.5, None], "k": {"1": False}}
    assert to_json(given) == json.dumps(given, indent=1)
    assert to_json(given, indent=None, ensure_ascii=False) == json.dumps(given, ensure_ascii=False)
    with pytest.raises(TypeError):
        to_json({"a": object()})


def test_numbers_of_numpy_are_numbers__closed_form():
    given = {"a": np.float32(0.5), "b": [np.int64(3), np.float64("inf"), np.float32("nan")]}
    read = json.loads(to_json({**given, "c": np.bool_(True)}), parse_constant=refuse)
    assert read == {"a": 0.5, "b": [3, None, None], "c": True}
