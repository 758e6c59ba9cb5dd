"""What an inspection returns: one answer per question, each with its error rate and its basis.

A smaller p-value is stronger evidence for what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from wherefrom.case.parts.file import PartConfig
from wherefrom.data.images.notebook import AsTable, Rows

SCHEMA = 1
KIND = "wherefrom inspection"
# In the order in which they are asked and shown.
QUESTIONS = {
    "model": "Did one of my models make it?",
    "origin": "Was it made from one of my images?",
    "naturalness": "How natural is it?",
    "outlier": "Is it unlike the images of my model?",
    "credit": "Who is credited for the model behind it?",
}


class State(StrEnum):
    """The kinds of answers."""

    FOUND = "found"  # made by a model, made from an image, flagged, credited
    CLEAR = "not found"
    UNFLAGGED = "not flagged"  # the same of naturalness and outliers
    UNSURE = "cannot say"
    UNASKED = "not asked"


@dataclass(frozen=True)
class PartAnswer:
    """The verdict of one part of the case: an attributor, index, calibration, inverter or receipt.

    `p_value`: that of the test behind the verdict, None without one.  `numbers` and `details` are
    JSON values that the page lists.
    """

    name: str
    path: str
    digest: str
    verdict: str
    p_value: float | None = None
    reason: str = ""
    numbers: Mapping[str, float | int | None] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, part: PartConfig, verdict: str, p_value: float | None = None, **said: Any) -> Self:
        """The verdict of `part`; `said` are the fields `reason`, `numbers` and `details`."""
        return cls(part.name, part.path, part.digest, verdict, p_value, **said)

    @classmethod
    def failed(cls, part: PartConfig, reason: str) -> Self:
        """A part that could not judge the image, and why."""
        return cls.of(part, "cannot say", reason=reason)


@dataclass(frozen=True)
class QuestionAnswer:
    """The answer to one of `QUESTIONS`.

    `error_rate` is the chance that `error_of` describes, None where nothing was concluded;
    `certainty` is the smallest p-value behind a finding, for sorting.  `reason` says why there is
    no answer, `caveats` its limits.
    """

    question: str
    state: State
    sentence: str
    error_rate: float | None = None
    error_of: str = ""
    certainty: float | None = None
    reason: str = ""
    caveats: tuple[str, ...] = ()
    parts: tuple[PartAnswer, ...] = ()

    @classmethod
    def not_asked(cls, question: str, why: str) -> Self:
        """The answer to a question that the case, or another answer, leaves open."""
        return cls(question, State.UNASKED, f"Not asked: {why}.", reason=why)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "state": str(self.state),
            "asked": QUESTIONS[self.question],
            "caveats": list(self.caveats),
            "parts": [asdict(part) for part in self.parts],
        }


@dataclass(frozen=True)
class Claim:
    """One statement in the file about itself.  Anybody can write it; it proves nothing.

    `signed`: "" for plain metadata, else what is known of the signature behind it.
    """

    source: str
    name: str
    text: str
    signed: str = ""


@dataclass(frozen=True)
class ImageFacts:
    """The file that was inspected; sizes in px of the upright image."""

    name: str
    digest: str
    bytes: int
    format: str
    width: int
    height: int
    channels: int
    lossless: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Inspection(AsTable):
    """All answers about one image.  `exhibits` by question: what a page draws, no JSON.

    `consulted`: absolute paths of the pictures that answers rest on beside the image, whether they
    could be read or not; None where a question failed, so that this is not known.  No JSON either.
    """

    image: ImageFacts
    case: Mapping[str, Any]  # name, digest
    answers: tuple[QuestionAnswer, ...]
    claims: tuple[Claim, ...]
    unread_claims: tuple[str, ...]  # what could not be read of them, and why
    versions: Mapping[str, str]
    exhibits: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    consulted: tuple[str, ...] | None = ()

    def answer(self, question: str) -> QuestionAnswer:
        """The answer to one of `QUESTIONS`."""
        return next(answer for answer in self.answers if answer.question == question)

    @property
    def findings(self) -> list[QuestionAnswer]:
        """Answers that found something about the image itself."""
        return [a for a in self.answers if a.state is State.FOUND and a.question != "credit"]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as `inspection.schema.json` describes them."""
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "image": asdict(self.image) | {"notes": list(self.image.notes)},
            "case": dict(self.case),
            "answers": [answer.to_dict() for answer in self.answers],
            "claims": [asdict(claim) for claim in self.claims],
            "unread_claims": list(self.unread_claims),
            "versions": dict(self.versions),
        }

    def as_table(self) -> tuple[Rows, str]:
        return self._rows(), self.image.name

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "question": QUESTIONS[answer.question],
                "state": str(answer.state),
                "answer": answer.sentence,
                "error rate": answer.error_rate,
            }
            for answer in self.answers
        ]
