"""A folder judged as a whole: which answers stand, and what the others say."""

import dataclasses

import pytest

from wherefrom.attribution.checking.discovery import control_discoveries
from wherefrom.attribution.result import CheckResult, ImageVerdict
from wherefrom.calibration.verdict import Verdict


def result_of(*images):
    return CheckResult(tuple(images), 3.0, 0.05, 0.05, {})


def image(verdict, p_value, p_other, score=1.0):
    return ImageVerdict("x.png", verdict, p_value, p_other, score, "")


def test_one_rare_image_among_many_is_taken_back__closed_form():
    """0.04 alone is below 0.05; the smallest of 20 must be below 0.05 / 20."""
    usual = [image(Verdict.OURS, 0.5, 0.001) for _ in range(19)]
    result = control_discoveries(result_of(image(Verdict.NOT_OURS, 0.04, 0.9), *usual), 0.05)
    assert result.false_discovery_rate == 0.05
    first, *rest = result.images
    assert first.verdict is Verdict.CANNOT_SAY
    assert "'not made by this model' (p = 0.04)" in first.reason and "20 images" in first.reason
    assert first.p_value == 0.04
    assert all(i.verdict is Verdict.OURS for i in rest)


def test_many_rare_images_stand__closed_form():
    rivals = [image(Verdict.NOT_OURS, 0.04, 0.9) for _ in range(19)]
    result = control_discoveries(result_of(image(Verdict.OURS, 0.5, 0.04), *rivals), 0.05)
    assert result.counts()["not made by this model"] == 19
    assert result.images[0].verdict is Verdict.CANNOT_SAY  # 0.04 > 0.05 / 20


def test_an_image_without_the_other_p_value_takes_no_part__closed_form():
    """Without rivals there is no p_other, and "made by this model" is no possible answer."""
    others = [image(Verdict.CANNOT_SAY, 0.5, None) for _ in range(19)]
    result = control_discoveries(result_of(image(Verdict.OURS, 0.5, 0.04), *others), 0.05)
    assert result.images[0].verdict is Verdict.OURS
    assert list(result.images[1:]) == others


def test_a_file_that_cannot_get_the_answer_takes_no_part__closed_form():
    """A lossy foreign file has a small p-value; it may neither help nor hinder the others."""
    lossy = dataclasses.replace(image(Verdict.CANNOT_SAY, 0.001, 0.9), possible=(Verdict.OURS,))
    usual = [image(Verdict.OURS, 0.5, 0.001) for _ in range(19)]
    chance = image(Verdict.NOT_OURS, 0.04, 0.9)
    found = control_discoveries(result_of(chance, *usual, *[lossy] * 300), 0.05)
    assert found.images[0].verdict is Verdict.CANNOT_SAY and "20 images" in found.images[0].reason
    clear = image(Verdict.NOT_OURS, 0.002, 0.9)  # below 0.05 / 20, not below 0.05 / 320
    found = control_discoveries(result_of(clear, *usual, *[lossy] * 300), 0.05)
    assert found.images[0] == clear


def test_another_verdict_helps_no_answer_to_stand__closed_form():
    """Both p-values of images between the two calibrations are small; they are "not made by"."""
    between = [image(Verdict.NOT_OURS, 0.001, 0.001) for _ in range(300)]
    chance = [image(Verdict.OURS, 0.5, 0.04) for _ in range(3)]
    usual = [image(Verdict.CANNOT_SAY, 0.5, 0.5) for _ in range(97)]
    found = control_discoveries(result_of(*chance, *between, *usual), 0.05)
    assert found.counts() == {"made by this model": 0, "not made by this model": 300} | {
        "cannot say": 100
    }


def test_images_without_a_score_neither_count_nor_change__identity():
    broken = dataclasses.replace(image(Verdict.CANNOT_SAY, None, None, None), reason="corrupt")
    alone = image(Verdict.NOT_OURS, 0.04, 0.9)
    result = control_discoveries(result_of(alone, *[broken] * 30), 0.05)
    assert result.images == (alone, *[broken] * 30)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_impossible_rate__rejects_rate(rate):
    with pytest.raises(ValueError, match="false-discovery rate"):
        control_discoveries(result_of(image(Verdict.OURS, 0.5, 0.1)), rate)
