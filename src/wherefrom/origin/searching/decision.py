"""Decide whether the index holds the origin: a conformal test of the best match.

Every query has a best match.  How far it stands out is one number, the statistic.  It is compared
with that of edits whose origins are *not* in the index, which gives a conformal p-value: an image
without an origin here is given one in at most the share `rate` of cases, whatever the statistic is.
There are three, of the scores s_1 >= s_2 >= ... of the best candidates (deviations above the
index's mean):

    z      s_1
    gap    s_1 - s_2
    tail   (s_1 - s_m) / mean(s_2 - s_m, ..., s_{m-1} - s_m),   m = 32 or the number there are

`tail` is minus the logarithm of the chance of s_1 if the best scores fall off exponentially.  The
test holds whether they do or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import torch
from torch import Tensor

from wherefrom.calibration.conformal import require_rate, upper_p_values
from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.origin.index.scanning.scan import ScanStatistics

STATISTICS = ("z", "gap", "tail")
TAIL = 32  # the best scores that say how the others fall off
MIN_IMAGES = 20  # with fewer, a mean and a deviation over the index say little


class AnswerKind(StrEnum):
    """The kinds of answers to a search."""

    COPY = "copy of"
    EDIT = "made from"
    NONE = "no origin in this index"
    UNKNOWN = "cannot say"


@dataclass(frozen=True, eq=False)
class NullScores(Artifact):
    """How far the best matches of edits without an origin here stand out, and the rate asked for.

    It holds for searches with the same `settings` (JSON values), and is refused for others.
    """

    kind = "origin/calibration"
    schema = 3  # 2: before an agreement counted by its own size
    again = "calibrate again"

    values: Tensor  # (n,) float64, one per origin
    rate: float  # false alarms: images without an origin here that are given one
    indexed: int  # images in the index at that time
    settings: Mapping[str, Any]  # views, re-ranking, statistic
    provenance: Mapping[str, Any]

    def p_values(self, values: Tensor) -> Tensor:
        """Share of null values at least as large, (Q,) float64, conformal."""
        return upper_p_values(values, self.values)

    def to_saved(self) -> Saved:
        meta = {
            "rate": self.rate,
            "indexed": self.indexed,
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
        }
        return Saved(meta, {"values": self.values})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        return cls(saved.tensors["values"], **saved.meta)


def make_null(
    values: Tensor,
    rate: float,
    *,
    indexed: int,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> NullScores:
    """The calibration; an `InputError` if these values cannot support the rate."""
    if not bool(torch.isfinite(values).all()):
        raise InputError("the values to calibrate with hold NaN; the index may be too small")
    require_rate(rate, len(values), what="rate of false alarms")
    return NullScores(values.double().sort().values, rate, indexed, settings, provenance)


class TooFewImages(InputError):  # noqa: N818 (it is the index that has too few)
    """An index with too few images to say whether one stands out, until more are added."""


def measure_prominence(scores: Tensor, statistic: str) -> float:
    """How far the best of one query's scores (m,), descending, stands out.  Larger = more so."""
    if len(scores) < 3:
        raise TooFewImages(
            f"{len(scores)} candidates are too few to tell whether one stands out; add images"
        )
    if statistic == "z":
        return float(scores[0])
    if statistic == "gap":
        return float(scores[0] - scores[1])
    above = scores[:TAIL] - scores[:TAIL][-1]
    mean = float(above[1:-1].mean())
    return float(above[0]) / mean if mean > 0 else 0.0


def moments_without(statistics: ScanStatistics, left_out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (Q,) of scores over the index without some of its images.

    `left_out` (Q, K): the scores of the images that are not to count.  A deviation of 0 is NaN.
    """
    n, k = statistics.count, left_out.shape[1]
    if n - k < MIN_IMAGES:
        raise TooFewImages(
            f"the index holds {n - k} images to compare with; an answer needs at least "
            f"{MIN_IMAGES}, add more"
        )
    squares = (statistics.std.square() + statistics.mean.square()) * n
    mean = (statistics.mean * n - left_out.sum(1)) / (n - k)
    square = (squares - left_out.square().sum(1)) / (n - k)
    std = (square - mean.square()).clamp_min(0).sqrt()
    return mean, torch.where(std > 0, std, torch.nan)


def decide(p: float, null: NullScores) -> tuple[AnswerKind, str]:
    """The answer for the best match, and the reason where there is none."""
    if p <= null.rate:
        return AnswerKind.EDIT, ""
    return AnswerKind.NONE, (
        f"the best match stands out no more than in {p:.3g} of searches for images whose origin is "
        f"not here (asked for: {null.rate:g})"
    )
