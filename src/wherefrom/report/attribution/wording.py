"""What the verdicts mean, in words that hold for a reader who knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wherefrom.attribution.result import CheckResult, EvaluationResult
from wherefrom.calibration.verdict import Verdict
from wherefrom.report.pages.tables import percent, plural

TONES: Mapping[str, str] = {
    Verdict.OURS: "yes",
    Verdict.NOT_OURS: "no",
    Verdict.CANNOT_SAY: "unsure",
}


def answer(result: CheckResult) -> str:
    """The result of a check as one or two sentences."""
    if len(result.images) > 1:
        together = (
            ""
            if result.false_discovery_rate is None
            else " They were judged together: on average over folders at most "
            f"{percent(result.false_discovery_rate)} of each answer are errors of the kinds that "
            "the rates below are about."
        )
        return (
            f"{plural(len(result.images), 'image')} were checked against one generative model. "
            f"The answer for each stands in the table below.{together}"
        )
    only = result.images[0]
    because = f": {only.reason}" if only.reason else ""
    return f"The image {only.name} was checked. The answer is: {only.verdict}{because}."


def verdict_meanings(
    result: CheckResult, own_count: int, other_count: int
) -> tuple[tuple[str, str], ...]:
    """Each verdict, the error rate that stands behind it, and what it was calibrated on."""
    self_made = result.attributor.get("others", {}).get("origin") == "self-made"
    others = "stand-ins made from the model's own content" if self_made else "other images"
    return (
        (
            str(Verdict.OURS),
            f"The image fits what this model's last layer produces, and the {others} do not. A "
            f"rival's image may still fit. An image that resembles the {other_count} {others} "
            f"held out for calibration is wrongly called so in at most "
            f"{percent(result.false_positive_rate)} of cases{_sibling_rate(result)}.",
        ),
        (
            str(Verdict.NOT_OURS),
            "The image does not fit this model. An unaltered image that the model did make is "
            f"wrongly called so in at most {percent(result.false_negative_rate)} of cases; the "
            f"rate was set on {own_count} images that the model made and the method never saw.",
        ),
        (
            str(Verdict.CANNOT_SAY),
            "The evidence does not suffice for either answer, or the file could not be judged. The "
            "reason stands beside the image. It is not a weak form of yes or no.",
        ),
    )


def _sibling_rate(result: CheckResult) -> str:
    if result.sibling_rate is None:
        return ""
    return (
        ", an image by a self-made sibling (the model's content, drawn by an altered or a new last "
        f"layer) in at most {percent(result.sibling_rate)}; a sibling that was trained may differ "
        "from these"
    )


def limits(states: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """What the rates do not cover; `states`: those of files that were calibrated besides clean."""
    calibrated = (
        "States of files that were calibrated",
        "The rates hold for images as the model gave them out, saved without loss, and for files "
        f"in each of these states: {', '.join(states)}, altered about as the calibration images "
        "were. An alteration that the file does not show, such as a blur or an earlier "
        "compression, is covered by none: “not made by this model” then means that this file is "
        "not the model's direct output.",
    )
    return (
        (
            "One model, one set of weights",
            "The answer concerns the weights whose digest stands below. A retrained or fine-tuned "
            "copy is another model.",
        ),
        calibrated
        if states
        else (
            "Unaltered images",
            "The rates hold for images as the model gave them out, saved without loss. Scaling, "
            "cropping, filters or JPEG compression remove the traces: “not made by this model” "
            "then means that this file is not the model's direct output, not that its content came "
            "from elsewhere.",
        ),
        (
            "Other sources like those in calibration",
            "The rate of false accusations is known for images like the others the owner supplied. "
            "A source unlike all of them can be mistaken more often; measure it with "
            "“wherefrom attribution evaluate”.",
        ),
        (
            "Rates, not certainty",
            "The rates are averages over many images. Among many images some verdicts are wrong, "
            "and a p-value is not the probability that the image was made by the model.",
        ),
    )


def p_value_meaning() -> str:
    """How to read the columns of the verdict table."""
    return (
        "p-value: the share of the model's own held-out images whose score is at least as large as "
        "this image's; a small value means that the image does not fit the model. Score: distance "
        "from the model's images; larger means less likely made by the model. The digest is the "
        "SHA-256 of the file that was read."
    )


def same_source_meaning() -> str:
    """How to read the p-value of a source."""
    return (
        "The p-value of a source: how often images of this model, as many and in the same states, "
        "would together fit as badly. It holds for images that were made independently of one "
        "another, such as different seeds or prompts; copies and frames of a film were not."
    )


def evaluation_notes(result: EvaluationResult) -> tuple[str, ...]:
    """What was not checked or not measured in an evaluation, one sentence each."""
    unscored = tuple(
        f"{plural(row.unscored, 'image')} of {row.source!r} without a finite score: left out of "
        "every share, and counted under “cannot say”"
        for row in (result.own, *result.others)
        if row.unscored
    )
    return (*result.notes, *unscored)


def evaluation_meaning(result: EvaluationResult) -> tuple[str, ...]:
    """How to read the evaluation."""
    return (
        "Images of known origin were judged as if their origin were unknown; none of them was used "
        "to fit or calibrate.",
        "Rejected: share of images whose score lies above the threshold, with the exact "
        "(Clopper-Pearson) 95% interval. For the model's own images this is the error rate, set "
        f"to at most {percent(result.false_negative_rate)}; for every other source it should be "
        "near 100%. Accuracy: the mean of the own images kept and of the source's images rejected "
        "(for the own row, the share kept). AUROC: the probability that an image of the source "
        "scores higher than an own one, 1 is perfect and 0.5 is chance. The last columns count the "
        "verdicts that a check would give.",
    )
