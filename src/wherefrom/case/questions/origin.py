"""Was the image made from one of the images in the case's indexes?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wherefrom.case.parts.file import OriginPart
from wherefrom.case.parts.opened import OpenCase
from wherefrom.case.questions.asked import Asked, OriginShown
from wherefrom.case.result import PartAnswer, QuestionAnswer, State
from wherefrom.core.errors import WherefromError
from wherefrom.origin.collection.references import References
from wherefrom.origin.index.places import shown_path
from wherefrom.origin.searching.decision import AnswerKind, TooFewImages
from wherefrom.origin.searching.result import OriginAnswer

NAMED = (AnswerKind.COPY, AnswerKind.EDIT)  # a copy says more than likeness
ERROR_OF = "an image without an origin in the case's indexes is given one"
SHOWN = 3  # candidates in the JSON


def ask_origin(path: Path, opened: OpenCase, *, pictures: bool) -> Asked:
    """Search every index for the image; with `pictures` also where candidates differ from it."""
    if not opened.origins:
        return Asked(QuestionAnswer.not_asked("origin", "the case names no index of images"))
    parts: list[PartAnswer] = []
    exhibits: list[object] = []
    answers: list[tuple[OriginPart, OriginAnswer]] = []
    rates: list[float] = []
    reasons: list[str] = []
    all_known = True
    for part, references in opened.origins:
        try:
            (answer,) = references.search([path])
        except WherefromError as error:
            reasons.append(str(error))
            parts.append(PartAnswer.failed(part, str(error)))
            # Another failure may pass; this one stays for as long as the index is the same.
            all_known &= isinstance(error, TooFewImages)
            continue
        answers.append((part, answer))
        rates += [] if references.null is None else [references.null.rate]
        parts.append(_answer_of(part, answer, references))
        if pictures:
            exhibits.append(OriginShown(part.name, answer, references.evidence([answer])))
    reasons += [answer.reason for _, answer in answers if answer.answer is AnswerKind.UNKNOWN]
    combined = _named(answers, rates, opened.case.path.parent) or _unnamed(answers, reasons)
    consulted = tuple(dict.fromkeys(place for _, a in answers for place in a.consulted))
    notes = tuple(note for _, answer in answers for note in answer.notes)
    final = replace(combined, caveats=(*notes, *combined.caveats), parts=tuple(parts))
    return Asked(final, tuple(exhibits), consulted if all_known else None)


def _named(
    answers: list[tuple[OriginPart, OriginAnswer]], rates: list[float], base: Path
) -> QuestionAnswer | None:
    """The answer if an index names an origin, the most certain one; paths relative to `base`."""
    for kind in NAMED:
        named = [(part, answer) for part, answer in answers if answer.answer is kind]
        if named:
            part, best = min(named, key=lambda pair: pair[1].p_value or 0.0)
            text = best.sentence(base)
            is_copy = kind is AnswerKind.COPY
            return QuestionAnswer(
                "origin",
                State.FOUND,
                f"{text[0].upper()}{text[1:]}, in the index “{part.name}”.",
                error_rate=min(1.0, sum(rates)) if rates and not is_copy else None,
                error_of="" if is_copy else ERROR_OF,
                certainty=best.p_value or 0.0,
            )
    return None


def _unnamed(answers: list[tuple[OriginPart, OriginAnswer]], reasons: list[str]) -> QuestionAnswer:
    """The answer if no index names an origin; `reasons` why some could not say."""
    if reasons:
        sentence = f"Whether it has an origin here cannot be said: {reasons[0]}."
        return QuestionAnswer("origin", State.UNSURE, sentence, reason=reasons[0])
    indexes = "index" if len(answers) == 1 else f"{len(answers)} indexes"
    caveat = "an origin outside the indexes, or an edit that hides it, is not found"
    sentence = f"No origin in the {indexes} of the case stands out."
    return QuestionAnswer("origin", State.CLEAR, sentence, caveats=(caveat,))


def _answer_of(part: OriginPart, answer: OriginAnswer, references: References) -> PartAnswer:
    candidates = [
        {
            "path": shown_path(c.path, references.base),
            "digest": c.digest,
            "score": c.score,
            "p_value": c.p_value,
            "missing": c.missing,
        }
        for c in answer.candidates[:SHOWN]
    ]
    basis = {key: value for key, value in references.describe().items() if key != "index"}
    images = references.index.count()
    return PartAnswer.of(
        part,
        str(answer.answer),
        answer.p_value,
        reason=answer.reason,
        numbers={"deviations": answer.z},
        details={"candidates": candidates, "basis": basis, "images": images},
    )
