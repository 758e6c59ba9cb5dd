"""What `check` and `evaluate` return.  Larger score = less likely made by the owner's model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wherefrom.attribution.together import Together
from wherefrom.calibration.verdict import Verdict
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
        """JSON values."""
        possible = [str(answer) for answer in self.possible]
        return asdict(self) | {"verdict": str(self.verdict), "possible": possible}


def without_score(name: str, digest: str) -> ImageVerdict:
    """The answer for an image whose score is NaN or infinite."""
    reason = (
        "has a score that is not a finite number: a value in it is too large to compute with; "
        "check its units, or leave it out"
    )
    return ImageVerdict(name, Verdict.CANNOT_SAY, None, None, None, reason, digest, possible=())


@dataclass(frozen=True)
class CheckResult:
    """The answers for a set of images, with what they rest on."""

    images: tuple[ImageVerdict, ...]
    threshold: float
    false_negative_rate: float
    false_positive_rate: float
    attributor: Mapping[str, Any]  # kind, digests, sizes of the calibration sets, versions
    false_discovery_rate: float | None = None  # None: every image is judged alone
    together: Together | None = None  # of a table: all its rows as one
    sibling_rate: float | None = None  # None: the attributor has no guard against siblings

    def counts(self) -> dict[str, int]:
        """How many images got each verdict; every verdict is a key."""
        found = Counter(str(image.verdict) for image in self.images)
        return {str(verdict): found[str(verdict)] for verdict in Verdict}

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "images": [image.to_dict() for image in self.images],
            "counts": self.counts(),
            "threshold": self.threshold,
            "false_negative_rate": self.false_negative_rate,
            "false_positive_rate": self.false_positive_rate,
            "sibling_rate": self.sibling_rate,
            "false_discovery_rate": self.false_discovery_rate,
            "together": None if self.together is None else self.together.to_dict(),
            "attributor": dict(self.attributor),
        }


@dataclass(frozen=True)
class SourceRow:
    """How an attributor fares on one named source of images.

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
        """JSON values."""
        return asdict(self) | {"verdicts": dict(self.verdicts)}


@dataclass(frozen=True)
class EvaluationResult:
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
        """JSON values."""
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
