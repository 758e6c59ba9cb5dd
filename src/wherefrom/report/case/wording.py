"""What an inspection and a case mean, in words for a reader who knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherefrom.case.parts.file import KINDS, Case
from wherefrom.case.result import QUESTIONS, QuestionAnswer, State
from wherefrom.report.pages.tables import percent, plural

TONES: Mapping[str, str] = {
    State.FOUND: "yes",
    State.CLEAR: "no",
    State.UNFLAGGED: "no",
    State.UNSURE: "unsure",
    State.UNASKED: "",
}


def error_sentence(rate: float | None, error_of: str) -> str:
    """How often such an answer is wrong, as one sentence; empty where nothing was concluded."""
    if rate is None:
        return ""
    return f"At most {percent(rate)} of the time {error_of}."


def summary_lines(inspection: Mapping[str, Any]) -> list[str]:
    """The inspection (JSON values) as plain lines, one per question."""
    image = inspection["image"]
    lines = [f"{image['name']}  {image['digest']}"]
    for answer in inspection["answers"]:
        error = error_sentence(answer["error_rate"], answer["error_of"])
        lines.append(f"{answer['asked']} {answer['sentence']} {error}".rstrip())
    claims = len(inspection["claims"])
    lines.append(f"The file makes {claims} statements about itself; they prove nothing.")
    return lines


def count_parts(case: Case) -> str:
    """How many parts of each kind a case has, as `2 attributors, 1 origin`."""
    counts = [(len(case.of(kind)), kind) for kind in KINDS]
    return ", ".join(plural(count, kind) for count, kind in counts if count) or "nothing yet"


def unanswered(answers: tuple[QuestionAnswer, ...]) -> tuple[tuple[str, str], ...]:
    """Each question without an answer, and why."""
    open_ones = [a for a in answers if a.state in (State.UNSURE, State.UNASKED)]
    return tuple((QUESTIONS[a.question], a.reason) for a in open_ones)


def limits() -> tuple[tuple[str, str], ...]:
    """What the answers do not prove."""
    return (
        (
            "Rates, not certainty",
            "Each rate is an average over many images. A p-value is no probability that the "
            "answer is right, and several questions asked of many images give some wrong answers.",
        ),
        (
            "Unaltered files",
            "Whether a model made an image is decided by traces that scaling, cropping and lossy "
            "compression remove. “Made by none” then means that this file is no direct output.",
        ),
        (
            "Images like those of the calibrations",
            "Every rate holds for images like those that the parts of the case were calibrated on. "
            "Another kind of image, or an unknown rival model, can differ.",
        ),
        (
            "Likeness is no history",
            "An origin is named because the images agree more than chance explains. Who made the "
            "edit, when and with what is not shown.",
        ),
        (
            "Unusual is not broken, and not generated",
            "Naturalness and outliers compare the image with the images of a calibration. Neither "
            "says whether a camera or a model made it.",
        ),
        (
            "Credit is about a model",
            "Shares divide one measured property of the model under one recipe. They are no "
            "statement about this image, nor about ownership, licences or copying.",
        ),
        (
            "Claims in the file",
            "Metadata and Content Credentials can be written and removed by anybody. A valid "
            "signature shows that somebody signed the claims, not that they are true.",
        ),
    )
