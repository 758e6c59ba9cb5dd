"""The verdict on one image from its p-values: made by this model, not made by it, or cannot say.

The first p-value asks whether the score is too large for an image of this model.  The second asks
whether it is too small for one of the other images the owner gave, the third the same for an image
by a sibling of the model.  "Made by this model" needs all three: an image that fits the model, and
that neither the others nor a sibling explain.
"""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The three answers of `check`."""

    OURS = "made by this model"
    NOT_OURS = "not made by this model"
    CANNOT_SAY = "cannot say"


def decide(
    p_value: float,
    p_other: float,
    p_sibling: float | None = None,
    *,
    false_negative_rate: float,
    false_positive_rate: float,
    sibling_rate: float = 1.0,
) -> tuple[Verdict, str]:
    """Verdict and reason (empty when there is nothing to explain).

    `p_value`: own calibration images with a score as large; an image of the model is called "not
    made by this model" with probability at most `false_negative_rate`.
    `p_other`: other calibration images with a score as small; an image like them is called "made by
    this model" with probability at most `false_positive_rate`.
    `p_sibling`: self-made siblings' images with a score as small; one like them is called "made by
    this model" with probability at most `sibling_rate`.  None: there is no such guard.
    """
    if p_value <= false_negative_rate:
        return Verdict.NOT_OURS, ""
    if p_other > false_positive_rate:
        return Verdict.CANNOT_SAY, (
            f"the score fits this model (p = {p_value:.3g}) but also the other images "
            f"(p = {p_other:.3g} > {false_positive_rate:g})"
        )
    if p_sibling is not None and p_sibling > sibling_rate:
        return Verdict.CANNOT_SAY, (
            f"the score fits this model (p = {p_value:.3g}), but a sibling of this model would "
            f"look like this (p = {p_sibling:.3g} > {sibling_rate:g})"
        )
    return Verdict.OURS, ""
