"""What `check` and `evaluate` return.  Larger score = less likely made by the owner's model.

`judge_together` asks whether all samples of a set could be the model's.  One row of eleven numbers
says little about its origin, a table of them says much.  Symbols:

    n    held-out own samples of the calibration
    k    rank of the threshold: a sample is rejected where fewer than k of the n scores are larger
    m    samples asked about, K of them rejected

If all m are the model's, they and the n are exchangeable, and K follows a beta-binomial law with m
trials and parameters k and n + 1 - k: each new score is rejected if it is beyond the same order
statistic of the n, whose share beyond is Beta(k, n + 1 - k).  Exact for continuous scores; ties
make K smaller, and the p-value too large, which is the safe side.

Deviation: the paper judges every sample alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.data.images.notebook import AsTable, Rows, rows_as_frame, rows_as_html
from wherefrom.metrics.detection import finite_mean


@dataclass(frozen=True)
class ImageVerdict:
    """The answer for one image.

    `p_value`: share of the model's own calibration images with a score at least as large.
    `p_other`: share of the other calibration images with a score at least as small.
    `p_sibling`: the same of images by self-made siblings of the model, the largest over their
    kinds; None also where the attributor has no such calibration.
    All these numbers are None when the image could not be scored; `reason` then says why.
    `condition`: the state in which its file arrived, whose calibration the p-values are from; None
    where that is none of those known.
    `possible`: the answers that were open to its file whatever its score; a lossy file, for
    example, cannot be called "not made by this model" without a calibration for lossy files.
    """

    name: str
    verdict: Verdict
    p_value: float | None
    p_other: float | None
    score: float | None
    reason: str
    digest: str | None = None
    condition: str | None = None
    possible: tuple[Verdict, ...] = (Verdict.OURS, Verdict.NOT_OURS)
    p_sibling: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        possible = [str(answer) for answer in self.possible]
        return asdict(self) | {"verdict": str(self.verdict), "possible": possible}


def cannot_say(name: str, reason: str, digest: str | None = None) -> ImageVerdict:
    """The answer for an image or row that could not be judged, whatever the reason."""
    return ImageVerdict(name, Verdict.CANNOT_SAY, None, None, None, reason, digest, possible=())


def without_score(name: str, digest: str) -> ImageVerdict:
    """The answer for an image whose score is NaN or infinite."""
    reason = (
        "has a score that is not a finite number: a value in it is too large to compute with; "
        "check its units, or leave it out"
    )
    return cannot_say(name, reason, digest)


@dataclass(frozen=True)
class Together:
    """How many of the samples do not fit, how many were expected, and how rare that is."""

    samples: int
    rejected: int
    expected: float
    p_value: float  # of at least so many, were all of them the model's

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `samples` is called "judged" there."""
        values = asdict(self)
        return {"judged": values.pop("samples"), **values}


def judge_together(p_values: Sequence[float], *, calibration: int, rate: float) -> Together:
    """The p-value of a whole set, from the conformal p-values of its samples.

    `calibration` is n, `rate` the p-value at or below which a sample is rejected.  An `InputError`
    if there is no sample, or the calibration cannot support the rate.
    """
    from scipy.stats import betabinom

    k = math.floor(rate * (calibration + 1) + 1e-9)
    if not p_values or k < 1:
        raise InputError(
            f"{len(p_values)} samples at a rate of {rate} with {calibration} held-out samples; "
            f"give at least one sample and a rate of at least 1/{calibration + 1}"
        )
    rejected = sum(p <= k / (calibration + 1) + 1e-12 for p in p_values)
    law = (len(p_values), k, calibration + 1 - k)
    expected, p_value = betabinom.mean(*law), betabinom.sf(rejected - 1, *law)
    return Together(len(p_values), rejected, float(expected), float(p_value))


@dataclass(frozen=True)
class SameSource:
    """The answer for the images of one source.

    `p_value`: of combined p-values as small, were the source this model; None where no image could
    be judged.  `images` count, by the state of their files in `states`; `left_out`: the others, by
    name with the reason.  `rate`: the p-value up to which the source is not this model.
    """

    source: str
    images: int
    p_value: float | None
    rate: float
    states: Mapping[str, int]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the source is called not this model."""
        return self.p_value is not None and self.p_value <= self.rate

    @property
    def sentence(self) -> str:
        """The answer as one sentence."""
        many = "1 image" if self.images == 1 else f"{self.images} images"
        if self.p_value is None:
            return f"{self.source}: no image could be judged, so nothing is said of the source"
        p_value = f"p = {self.p_value:.3g}"
        if self.rejected:
            return (
                f"{self.source}: if one source made its {many}, it is not this model "
                f"({p_value}; at most {self.rate:g} of such sets by the model are called so)"
            )
        return (
            f"{self.source}: its {many} together do not speak against this model ({p_value} > "
            f"{self.rate:g}); that does not say that the model made them"
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, with the sentence."""
        left_out = [{"name": name, "reason": reason} for name, reason in self.left_out]
        answer = {"rejected": self.rejected, "sentence": self.sentence}
        return asdict(self) | {"left_out": left_out} | answer


@dataclass(frozen=True)
class CheckResult:
    """The answers for a set of images, with the threshold, the rates and the attributor."""

    images: tuple[ImageVerdict, ...]
    threshold: float
    false_negative_rate: float
    false_positive_rate: float
    attributor: Mapping[str, Any]  # kind, digests, sizes of the calibration sets, versions
    false_discovery_rate: float | None = None  # None: every image is judged alone
    together: Together | None = None  # of a table: all its rows as one
    sibling_rate: float | None = None  # None: the attributor has no guard against siblings
    same_source: tuple[SameSource, ...] = ()  # where asked for: one answer per folder

    def counts(self) -> dict[str, int]:
        """How many images got each verdict; every verdict is a key."""
        counts = Counter(str(image.verdict) for image in self.images)
        return {str(verdict): counts[str(verdict)] for verdict in Verdict}

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "images": [image.to_dict() for image in self.images],
            "counts": self.counts(),
            "threshold": self.threshold,
            "false_negative_rate": self.false_negative_rate,
            "false_positive_rate": self.false_positive_rate,
            "sibling_rate": self.sibling_rate,
            "false_discovery_rate": self.false_discovery_rate,
            "together": None if self.together is None else self.together.to_dict(),
            "same_source": [source.to_dict() for source in self.same_source],
            "attributor": dict(self.attributor),
        }

    def to_dataframe(self) -> Any:
        """A pandas data frame with a row per image (extra `dataframe`)."""
        return rows_as_frame([image.to_dict() for image in self.images])

    def _repr_html_(self) -> str:
        shown = ("name", "verdict", "p_value", "score", "reason")
        rows = [{name: image.to_dict()[name] for name in shown} for image in self.images]
        return rows_as_html(rows, caption="Made by the model?", image="name")


@dataclass(frozen=True)
class SourceRow:
    """Rates of one named source of images under an attributor.

    `accuracy` is the paper's: the mean of the own images kept and of this source's images
    rejected, by the threshold alone.  For the own row it is the share kept.  `low` and `high` are
    the exact (Clopper-Pearson) 95 % interval of `rejected`.  `count` images have a finite score;
    `unscored` have none and are in `verdicts` ("cannot say") only.  Where all are unscored, every
    share and the AUROC are NaN.
    """

    source: str
    count: int
    rejected: float
    low: float
    high: float
    accuracy: float
    auroc: float | None
    verdicts: Mapping[str, int]
    unscored: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EvaluationResult(AsTable):
    """One row for the model's own images, one per other source, and the scores behind them.

    `notes`: what could not be checked of the images, and why.
    """

    own: SourceRow
    others: tuple[SourceRow, ...]
    scores: Mapping[str, tuple[float, ...]]
    threshold: float
    false_negative_rate: float
    attributor: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def mean_accuracy(self) -> float:
        """Accuracy averaged over the other sources that have scores (FLIPAD, Table 1)."""
        return finite_mean([row.accuracy for row in self.others])

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "own": self.own.to_dict(),
            "others": [row.to_dict() for row in self.others],
            "mean_accuracy": self.mean_accuracy,
            "threshold": self.threshold,
            "false_negative_rate": self.false_negative_rate,
            "scores": {name: list(values) for name, values in self.scores.items()},
            "notes": list(self.notes),
            "attributor": dict(self.attributor),
        }

    def as_table(self) -> tuple[Rows, str]:
        return self._rows(), "The attributor, by source of images"

    def _rows(self) -> list[dict[str, Any]]:
        rows = [row.to_dict() for row in (self.own, *self.others)]
        return [row | row.pop("verdicts") for row in rows]
