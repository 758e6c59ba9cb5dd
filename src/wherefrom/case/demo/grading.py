"""Whether the answers of the case are right about each suspect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wherefrom.case.demo.parts import NOISE
from wherefrom.case.demo.suspects import NO_ORIGIN, SUSPECTS, Suspect
from wherefrom.case.folder import FolderInspection, InspectedFile
from wherefrom.case.result import QUESTIONS, State

NOTHING = "-"


class Grade(StrEnum):
    """How an answer compares with the truth."""

    RIGHT = "right"
    WRONG = "wrong"
    NO_ANSWER = "no answer"
    UNGRADED = "not graded"  # there is no truth, or the question was not asked


@dataclass(frozen=True)
class GradedAnswer:
    """One answer in a word or two, its grade, and the case's own reason where it has none."""

    question: str
    text: str
    grade: Grade
    reason: str = ""


@dataclass(frozen=True)
class GradedSuspect:
    """One suspect with its answers by question; none if the file could not be read."""

    path: str
    suspect: Suspect
    answers: Mapping[str, GradedAnswer]
    digest: str | None = None
    unreadable: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).name

    def graded(self, grade: Grade) -> list[str]:
        """The questions whose answers have this grade."""
        return [q for q, answer in self.answers.items() if answer.grade is grade]


def grade_folder(inspected: FolderInspection) -> tuple[GradedSuspect, ...]:
    """Every suspect in the order of `SUSPECTS`; files of other names are left out."""
    rows = {Path(row.path).name: row for row in inspected.rows}
    return tuple(grade_suspect(SUSPECTS[name], rows[name]) for name in SUSPECTS if name in rows)


def grade_suspect(suspect: Suspect, row: InspectedFile) -> GradedSuspect:
    """One row of the inspection against the truth."""
    if row.inspection is None:
        reason = row.reason.removeprefix(f"{row.path}: ").removeprefix(f"{row.path} ")
        return GradedSuspect(row.path, suspect, {}, unreadable=reason)
    answers = {answer["question"]: answer for answer in row.inspection["answers"]}
    graded = {question: grade_answer(suspect, answers[question]) for question in QUESTIONS}
    return GradedSuspect(row.path, suspect, graded, str(row.inspection["image"]["digest"]))


def grade_answer(suspect: Suspect, answer: Mapping[str, Any]) -> GradedAnswer:
    """One answer (JSON values of an inspection) against the truth."""
    question, state = str(answer["question"]), State(answer["state"])
    if question == "credit":
        return _grade_credit(suspect, answer, state)
    if state is State.UNASKED:
        return GradedAnswer(question, NOTHING, Grade.UNGRADED)
    if state is State.UNSURE:
        known = _truth(suspect, question) is not None
        grade = Grade.NO_ANSWER if known else Grade.UNGRADED
        return GradedAnswer(question, "cannot say", grade, str(answer["reason"]))
    said, text = _said(question, answer, state is State.FOUND)
    return GradedAnswer(question, text, _grade(said, _truth(suspect, question)))


def _truth(suspect: Suspect, question: str) -> bool | str | None:
    if question == "outlier":
        return None if suspect.shows_clothes is None else not suspect.shows_clothes
    truths = {"model": suspect.by_my_model, "origin": suspect.origin}
    return truths.get(question, suspect.natural)


def _said(question: str, answer: Mapping[str, Any], positive: bool) -> tuple[bool | str, str]:
    """What was said, comparable with `_truth`, and the same in a word or two."""
    if question == "model":
        return positive, "mine" if positive else "not mine"
    if question == "origin":
        name = _named_origin(answer["parts"]) if positive else NO_ORIGIN
        return name, name or "none"
    share = _share(answer["parts"])
    if question == "naturalness":
        return not positive, f"{'no' if positive else 'yes'}{share}"
    return positive, f"{'yes' if positive else 'no'}{share}"


def _grade(said: bool | str, truth: bool | str | None) -> Grade:
    if truth is None:
        return Grade.UNGRADED
    return Grade.RIGHT if said == truth else Grade.WRONG


def _named_origin(parts: Sequence[Mapping[str, Any]]) -> str:
    return Path(str(parts[0]["details"]["candidates"][0]["path"])).stem


def _share(parts: Sequence[Mapping[str, Any]]) -> str:
    value = parts[0]["p_value"] if parts else None
    return "" if value is None else f" ({100 * value:.0f}%)"


def _grade_credit(suspect: Suspect, answer: Mapping[str, Any], state: State) -> GradedAnswer:
    """Credit belongs to images of my model alone; of its contributors, noise earned the least."""
    if state is not State.FOUND:
        # Of other images nobody is credited: that follows from the model question, graded there.
        missed = suspect.by_my_model and "not assigned" in str(answer["reason"])
        grade = Grade.NO_ANSWER if missed else Grade.UNGRADED
        return GradedAnswer("credit", NOTHING, grade, str(answer["reason"]))
    details = answer["parts"][0]["details"]
    shares = dict(zip(details["contributors"], details["shares"], strict=True))
    total = sum(shares.values())
    text = "/".join(f"{100 * value / total:.0f}" for value in shares.values())
    if suspect.by_my_model is None:
        return GradedAnswer("credit", text, Grade.UNGRADED)
    right = suspect.by_my_model and min(shares, key=lambda name: shares[name]) == NOISE
    return GradedAnswer("credit", text, Grade.RIGHT if right else Grade.WRONG)
