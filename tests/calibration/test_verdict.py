"""Two p-values to one of three verdicts: the whole table."""

import pytest

from wherefrom.calibration.verdict import Verdict, decide

RATES = {"false_negative_rate": 0.005, "false_positive_rate": 0.01}


@pytest.mark.parametrize(
    ("p_value", "p_other", "verdict"),
    [
        (0.001, 1.0, Verdict.NOT_OURS),
        (0.005, 1.0, Verdict.NOT_OURS),  # at the rate: rejected, as the p-value promises
        (0.001, 0.001, Verdict.NOT_OURS),  # fits neither: still not ours
        (0.0051, 0.01, Verdict.OURS),
        (0.9, 0.001, Verdict.OURS),
        (0.0051, 0.0101, Verdict.CANNOT_SAY),
        (1.0, 1.0, Verdict.CANNOT_SAY),
    ],
)
def test_verdict_by_p_values__closed_form(p_value, p_other, verdict):
    result, reason = decide(p_value, p_other, **RATES)
    assert result is verdict
    assert bool(reason) == (verdict is Verdict.CANNOT_SAY)


def test_the_reason_names_both_p_values_and_the_rate__closed_form():
    _, reason = decide(0.5, 0.25, **RATES)
    assert reason == (
        "the score fits this model (p = 0.5) but also the other images (p = 0.25 > 0.01)"
    )


@pytest.mark.parametrize(
    ("p_value", "p_other", "p_sibling", "verdict"),
    [
        (0.9, 0.001, 0.05, Verdict.OURS),
        (0.9, 0.001, 0.051, Verdict.CANNOT_SAY),
        (0.9, 0.02, 0.001, Verdict.CANNOT_SAY),  # the others explain it
        (0.001, 0.001, 1.0, Verdict.NOT_OURS),
        (0.9, 0.001, None, Verdict.OURS),  # no guard
    ],
)
def test_a_sibling_guards_the_accusation__closed_form(p_value, p_other, p_sibling, verdict):
    result, reason = decide(p_value, p_other, p_sibling, sibling_rate=0.05, **RATES)
    assert result is verdict
    assert ("a sibling of this model" in reason) == (p_sibling == 0.051)


def test_verdicts_print_as_the_words_of_the_answer__closed_form():
    words = [str(verdict) for verdict in Verdict]
    assert words == ["made by this model", "not made by this model", "cannot say"]
