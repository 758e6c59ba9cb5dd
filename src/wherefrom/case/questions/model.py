"""Which of the models in the case made the image, or none of them?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.checking.open_set import Identification, OpenSetAnswer, identify
from wherefrom.attribution.checking.paths import check_paths
from wherefrom.attribution.result import ImageVerdict
from wherefrom.case.parts.file import AttributorPart
from wherefrom.case.parts.opened import OpenCase
from wherefrom.case.questions.asked import Asked, ScorePlace
from wherefrom.case.result import PartAnswer, QuestionAnswer, State

COMPRESSED = "the file is lossy: compression removes traces, so that no model can be ruled out"


def ask_model(path: Path, opened: OpenCase) -> Asked:
    """Check the image with every attributor, and combine the verdicts."""
    if not opened.attributors:
        return Asked(QuestionAnswer.not_asked("model", "the case names no attributor"))
    verdicts: dict[str, ImageVerdict] = {}
    parts: list[PartAnswer] = []
    exhibits: list[object] = []
    for part, fitted in opened.attributors:
        (verdict,) = check_paths(fitted, [path]).images
        verdicts[part.name] = verdict
        parts.append(_answer_of(part, verdict))
        if verdict.score is not None:
            exhibits.append(_score_place(part.name, fitted, verdict.score))
    identified = identify(verdicts, family_error=opened.case.config.family_error)
    missed = max(fitted.config.false_negative_rate for _, fitted in opened.attributors)
    answer = _combined(identified, verdicts, missed, tuple(parts))
    return Asked(answer, tuple(exhibits), model=identified.model)


def _score_place(name: str, fitted: Attributor, score: float) -> ScorePlace:
    return ScorePlace(
        name,
        own=fitted.own_scores,
        own_label=f"held-out images of {name}",
        threshold=fitted.threshold,
        score=score,
        axis="score (larger = less likely made by it)",
        other=fitted.other_scores,
        other_label="held-out other images",
    )


def _combined(
    identified: Identification,
    verdicts: Mapping[str, ImageVerdict],
    missed: float,
    parts: tuple[PartAnswer, ...],
) -> QuestionAnswer:
    """One answer about all models; `missed`: the largest false-negative rate of the attributors."""
    count = len(verdicts)
    of_all = f"any of the {count} models" if count > 1 else "the model"
    if identified.model is not None:
        return QuestionAnswer(
            "model",
            State.FOUND,
            f"Made by the model “{identified.model}”.",
            error_rate=identified.family_error,
            error_of=f"an image that is only like the other images of the fits is assigned to "
            f"{of_all}",
            certainty=identified.adjusted[identified.model],
            caveats=tuple(
                f"{name} makes images of another size or kind: the file {verdicts[name].reason}"
                for name in identified.unjudged
            ),
            parts=parts,
        )
    if identified.answer is OpenSetAnswer.NONE:
        sentence = f"Made by none of the {count} models." if count > 1 else "Not made by the model."
        error_of = f"an unaltered image of {of_all} gets this answer"
        return QuestionAnswer("model", State.CLEAR, sentence, missed, error_of, parts=parts)
    lossy = (COMPRESSED,) if any("lossy" in row.reason for row in verdicts.values()) else ()
    why = identified.reason
    sentence = f"Which model made it, if any, cannot be said: {why}."
    return QuestionAnswer("model", State.UNSURE, sentence, reason=why, caveats=lossy, parts=parts)


def _answer_of(part: AttributorPart, verdict: ImageVerdict) -> PartAnswer:
    return PartAnswer.of(
        part,
        str(verdict.verdict),
        verdict.p_value,
        reason=verdict.reason,
        numbers={
            "score": verdict.score,
            "p_like_other_images": verdict.p_other,
            "p_like_siblings": verdict.p_sibling,
        },
    )
