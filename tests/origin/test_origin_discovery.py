"""A folder of suspects judged together."""

import numpy as np
import pytest

from wherefrom.core.errors import InputError
from wherefrom.origin import AnswerKind, OriginAnswer
from wherefrom.origin.calibration.discovery import control_discoveries
from wherefrom.origin.searching.result import Candidate


def answer(p_value, *, rate=0.05, kind=None, name="q"):
    """What a search with that rate of false alarms says."""
    kind = kind or (AnswerKind.EDIT if p_value <= rate else AnswerKind.NONE)
    best = (Candidate("/a.png", "sha256:0", 0.9, 5.0, p_value),)
    return OriginAnswer(name, kind, p_value, 5.0, best, "" if kind is AnswerKind.EDIT else "why")


def stood(answers, rate):
    return [one.answer is AnswerKind.EDIT for one in control_discoveries(answers, rate)]


def test_answers_stand_as_benjamini_and_hochberg_say__naive_loop():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_values = np.round(rng.uniform(0, 1, 30) ** 4, 3) + 0.001
        counted = np.where(p_values <= 0.05, p_values, 1.0)
        places = np.sort(counted) <= 0.2 * np.arange(1, 31) / 30
        limit = np.sort(counted)[places].max() if places.any() else 0.0
        assert stood([answer(p) for p in p_values], 0.2) == (counted <= limit).tolist()


def test_what_does_not_stand_is_told_why__closed_form():
    kept, taken, none = control_discoveries([answer(0.001), answer(0.05), answer(0.9)], 0.05)
    assert kept == answer(0.001) and none == answer(0.9)
    assert taken.answer is AnswerKind.UNKNOWN and taken.p_value == 0.05 and taken.candidates
    assert taken.sentence() == (
        "cannot say: alone it would be called 'made from /a.png' (p = 0.05), but among 3 images "
        "judged together that is not rare enough for a false-discovery rate of 0.05"
    )
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        control_discoveries([], 1.0)


def test_copies_and_unread_files_take_no_part__identity():
    """Copies have no p-value; those that are judged are decided as if they were alone."""
    answers = [answer(p) for p in (0.01, 0.02, 0.04, 0.3, 0.8)]
    copy = OriginAnswer("c", AnswerKind.COPY, None, None, answers[0].candidates, "")
    unread = OriginAnswer("u", AnswerKind.UNKNOWN, None, None, (), "is no image")
    unsure = answer(0.02, kind=AnswerKind.UNKNOWN)
    others = [copy] * 60 + [unread] * 20 + [unsure] * 20
    alone = control_discoveries(answers, 0.05)
    together = control_discoveries([*others, *answers], 0.05)
    assert together == (*others, *alone)
    assert [one.answer is AnswerKind.EDIT for one in alone] == [True, True, False, False, False]
