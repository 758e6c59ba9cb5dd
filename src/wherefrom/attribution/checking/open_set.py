"""Which of my models made this image, or none of them?  Open-set, from one verdict per model.

Two sets of hypotheses, each with a rate of its own:

    made by k        at most one is true, so that all of them may be tested at the false-negative
                     rate without a correction: the models left over hold the true one with
                     probability 1 - false_negative_rate
    like k's others  several may be true, so that Holm's procedure corrects: an image that is like
                     the other images of every model is assigned to any of them with probability
                     at most the family-wise error

An image is assigned to a model only if that model alone is left over and its second test rejects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wherefrom.attribution.result import ImageVerdict
from wherefrom.calibration.family import holm_adjusted
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError


class OpenSetAnswer(StrEnum):
    """What can be said of one image and several models."""

    ONE = "made by one of these models"
    NONE = "made by none of these models"
    CANNOT_SAY = "cannot say"


@dataclass(frozen=True)
class Identification:
    """The answer for one image.

    `model` is set for `OpenSetAnswer.ONE`.  `possible`: models that are not ruled out; `unjudged`:
    those that could not judge the image at all.  `adjusted`: Holm's p-values of "like k's others".
    """

    answer: OpenSetAnswer
    model: str | None
    possible: tuple[str, ...]
    unjudged: tuple[str, ...]
    adjusted: Mapping[str, float]
    family_error: float
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `possible` is called "left" there."""
        return {
            "answer": str(self.answer),
            "model": self.model,
            "left": list(self.possible),
            "unjudged": list(self.unjudged),
            "adjusted": dict(self.adjusted),
            "family_error": self.family_error,
            "reason": self.reason,
        }


def identify(verdicts: Mapping[str, ImageVerdict], *, family_error: float) -> Identification:
    """One answer from the verdicts of several attributors on the same image, by model's name.

    A model that makes images of another size is unjudged: it does not stand in the way of naming
    another one, because this file is not its direct output, but "none" is not said then.
    """
    if not verdicts:
        raise InputError("there is no attributor to ask; give at least one")
    rows = {name: row for name, row in verdicts.items() if row.p_other is not None}
    values = holm_adjusted([row.p_other or 0.0 for row in rows.values()]).tolist()
    adjusted = dict(zip(rows, values, strict=True))
    possible = tuple(name for name, row in rows.items() if row.verdict is not Verdict.NOT_OURS)
    unjudged = tuple(name for name in verdicts if name not in rows)

    def answer(
        identity: OpenSetAnswer, reason: str = "", model: str | None = None
    ) -> Identification:
        return Identification(identity, model, possible, unjudged, adjusted, family_error, reason)

    if not possible and not unjudged:
        return answer(OpenSetAnswer.NONE)
    if not possible:
        first = verdicts[unjudged[0]].reason
        ruled = f"{', '.join(rows)} ruled out; " if rows else ""
        return answer(
            OpenSetAnswer.CANNOT_SAY,
            f"{ruled}{', '.join(unjudged)} could not judge it: the file {first}",
        )
    if len(possible) > 1:
        return answer(
            OpenSetAnswer.CANNOT_SAY, f"it fits more than one model: {', '.join(possible)}"
        )
    (only,) = possible
    row = rows[only]
    if row.verdict is Verdict.CANNOT_SAY:
        return answer(OpenSetAnswer.CANNOT_SAY, f"{only}: {row.reason}")
    if adjusted[only] > family_error:
        return answer(
            OpenSetAnswer.CANNOT_SAY,
            f"it fits {only}, but with {len(rows)} models in the case the other images explain "
            f"it too well (Holm-adjusted p = {adjusted[only]:.3g} > {family_error:g})",
        )
    return answer(OpenSetAnswer.ONE, model=only)
