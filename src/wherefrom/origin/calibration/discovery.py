"""Control the false-discovery rate of the answers for a folder of images.

Each image alone is given an origin by its own rate of false alarms, so that among 1,000 images
without an origin in the index some are given one by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from wherefrom.calibration.discovery import discoveries
from wherefrom.origin.searching.decision import AnswerKind
from wherefrom.origin.searching.result import OriginAnswer

ASKED = (AnswerKind.EDIT, AnswerKind.NONE)


def control_discoveries(answers: Sequence[OriginAnswer], rate: float) -> tuple[OriginAnswer, ...]:
    """The answers with a false-discovery rate of at most `rate` (0 to 1) for "made from".

    On average over folders at most that share of the answers "made from" are of images that have no
    origin in the index, as long as these are like the edits of the calibration.  Whether the right
    one of the images in the index is named is not part of it.  An answer that does not stand
    becomes "cannot say" with the reason; its p-value and candidates stay.

    Copies, which are found by their content, and images that could not be searched for take no
    part: they are no answers "made from", and would help others to stand.  An image that is called
    "no origin in this index" counts as p = 1.  An `InputError` for a rate outside (0, 1).
    """
    asked = [
        i for i, each in enumerate(answers) if each.answer in ASKED and each.p_value is not None
    ]
    p_values = [
        float(answers[i].p_value or 0.0) if answers[i].answer is AnswerKind.EDIT else 1.0
        for i in asked
    ]
    stands = discoveries(p_values, rate).tolist()
    controlled = list(answers)
    for i, stays in zip(asked, stands, strict=True):
        answer = answers[i]
        if answer.answer is AnswerKind.EDIT and not stays:
            reason = (
                f"alone it would be called 'made from {answer.candidates[0].path}' (p = "
                f"{answer.p_value:.3g}), but among {len(asked)} images judged together that is not "
                f"rare enough for a false-discovery rate of {rate:g}"
            )
            controlled[i] = dataclasses.replace(answer, answer=AnswerKind.UNKNOWN, reason=reason)
    return tuple(controlled)
