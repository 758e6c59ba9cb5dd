"""Where the numbers of every method are NaN, an inspection says "cannot say" with the reason."""

import json
import re

import jsonschema
import pytest
import torch
from test_inspect import SCHEMA

from wherefrom.anomaly.measuring.features import Measurement
from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.case import inspect_image, open_case
from wherefrom.case.result import State
from wherefrom.core.saving.store import digest_bytes
from wherefrom.encoders import Encoder
from wherefrom.inversion.model import FittedInverter
from wherefrom.report.case.page import inspection_json, inspection_page


def nan_like(whole):
    return lambda *given, **named: torch.full_like(whole(*given, **named), torch.nan)


def test_no_question_is_answered_by_nan__closed_form(case_file, world, monkeypatch):
    monkeypatch.setattr(Attributor, "_score_each", nan_like(Attributor._score_each))
    monkeypatch.setattr(Encoder, "latents", nan_like(Encoder.latents))
    monkeypatch.setattr(FittedInverter, "encode", nan_like(FittedInverter.encode))
    monkeypatch.setattr(Measurement, "fault", lambda self: "the encoder gives NaN for it")
    path = next(iter(sorted(world.own.iterdir())))
    with open_case(case_file) as opened:
        inspection = inspect_image(path, opened, pictures=True)
    asked = [a for a in inspection.answers if a.question != "credit"]
    assert [a.state for a in asked] == [State.UNSURE] * 4
    reasons = {a.question: a.reason for a in asked}
    assert "a score that is not a finite number" in reasons["model"]
    assert "cannot be compared" in reasons["origin"]
    assert "NaN" in reasons["naturalness"] and "not a finite number" in reasons["outlier"]
    assert all(part.p_value is None for a in asked for part in a.parts)
    text = inspection_json(inspection)
    jsonschema.validate(json.loads(text, parse_constant=pytest.fail), SCHEMA)
    page = inspection_page(inspection, path, digest_bytes(text.encode()))
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"data:image/[^\"]*", "", page))
