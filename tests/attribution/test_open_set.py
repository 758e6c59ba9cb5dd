import pytest

from wherefrom.attribution.checking.open_set import OpenSetAnswer, identify
from wherefrom.attribution.result import ImageVerdict
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError


def ours(p_other):
    return ImageVerdict("x", Verdict.OURS, 0.5, p_other, 1.0, "")


def not_ours():
    return ImageVerdict("x", Verdict.NOT_OURS, 0.001, 0.9, 9.0, "")


def unsure(reason="fits both"):
    return ImageVerdict("x", Verdict.CANNOT_SAY, 0.5, 0.6, 1.0, reason)


def of_another_size():
    return ImageVerdict("x", Verdict.CANNOT_SAY, None, None, None, "is 8x8 px, expected 16x16 px")


def test_one_model_that_fits_alone_is_named__closed_form():
    found = identify({"a": ours(0.002), "b": not_ours(), "c": not_ours()}, family_error=0.01)
    assert (found.answer, found.model, found.possible) == (OpenSetAnswer.ONE, "a", ("a",))
    assert found.adjusted["a"] == pytest.approx(0.006)  # three models: 3 x 0.002


def test_more_models_need_more_evidence__identity_holm():
    one = identify({"a": ours(0.009)}, family_error=0.01)
    two = identify({"a": ours(0.009), "b": not_ours()}, family_error=0.01)
    assert (one.answer, two.answer) == (OpenSetAnswer.ONE, OpenSetAnswer.CANNOT_SAY)
    assert "Holm-adjusted p = 0.018 > 0.01" in two.reason


def test_two_models_that_fit_are_not_told_apart__closed_form():
    found = identify({"a": ours(0.001), "b": ours(0.001)}, family_error=0.05)
    assert (found.answer, found.model, found.possible) == (
        OpenSetAnswer.CANNOT_SAY,
        None,
        ("a", "b"),
    )
    assert identify({"a": ours(0.001), "b": unsure()}, family_error=0.05).possible == ("a", "b")


def test_none_is_said_only_if_every_model_is_ruled_out__closed_form():
    assert (
        identify({"a": not_ours(), "b": not_ours()}, family_error=0.05).answer is OpenSetAnswer.NONE
    )
    found = identify({"a": not_ours(), "b": of_another_size()}, family_error=0.05)
    assert (found.answer, found.unjudged) == (OpenSetAnswer.CANNOT_SAY, ("b",))
    assert found.reason == (
        "a ruled out; b could not judge it: the file is 8x8 px, expected 16x16 px"
    )


def test_a_model_of_another_size_does_not_hide_the_one_that_fits__closed_form():
    found = identify({"a": ours(0.001), "b": of_another_size()}, family_error=0.05)
    assert (found.answer, found.model, found.unjudged) == (OpenSetAnswer.ONE, "a", ("b",))
    assert found.adjusted == {"a": 0.001}


def test_the_models_own_doubt_stays__closed_form():
    found = identify({"a": unsure("the file is lossy")}, family_error=0.05)
    assert (found.answer, found.reason) == (OpenSetAnswer.CANNOT_SAY, "a: the file is lossy")


def test_no_model_at_all__rejects():
    with pytest.raises(InputError, match="no attributor"):
        identify({}, family_error=0.05)
