"""From the best match to an answer: did this index hold the origin at all?

The best match always exists.  Its z-score, (best - mean) / std over all images of the index, is
compared with the z-scores of edits whose origins are *not* in the index: a conformal p-value, so
that an image without an origin here is given one in at most the share `rate` of cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from wherefrom.calibration.conformal import require_rate, upper_p_values
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.store import load_artifact, save_artifact
from wherefrom.origin.result import ScanStatistics

SCHEMA = 1
FEWEST = 20  # images below which a mean and a deviation over the index say little


class Answer(StrEnum):
    """What a search can say of one image."""

    COPY = "copy of"
    EDIT = "made from"
    NONE = "no origin in this index"
    UNKNOWN = "cannot say"


@dataclass(frozen=True, eq=False)
class NullScores:
    """z-scores of edits without an origin in the index, and the rate asked for."""

    kind: ClassVar[str] = "origin/calibration"
    z: Tensor  # (n,) float64, one per origin
    rate: float  # false alarms: images without an origin here that are given one
    indexed: int  # images in the index at that time
    provenance: Mapping[str, Any]

    def p_values(self, z: Tensor) -> Tensor:
        """Share of null scores at least as large, (Q,) float64, conformal."""
        return upper_p_values(z, self.z)

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the artifact folder."""
        save_artifact(
            path,
            kind=self.kind,
            schema=SCHEMA,
            meta={
                "rate": self.rate,
                "indexed": self.indexed,
                "provenance": dict(self.provenance),
            },
            tensors={"z": self.z},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: Path) -> NullScores:
        """Read the artifact folder; an `ArtifactError` says what is wrong with it."""
        meta, tensors = load_artifact(path, kind=cls.kind, schema=SCHEMA)
        try:
            return cls(tensors["z"], meta["rate"], meta["indexed"], meta["provenance"])
        except KeyError as error:
            raise ArtifactError(f"{path} is damaged ({error}); calibrate again") from error


def make_null(z: Tensor, rate: float, *, indexed: int, provenance: Mapping[str, Any]) -> NullScores:
    """The calibration; an `InputError` if these scores cannot support the rate."""
    if not bool(torch.isfinite(z).all()):
        raise InputError("the scores to calibrate with hold NaN; the index may be too small")
    require_rate(rate, len(z), what="rate of false alarms")
    return NullScores(z.double().sort().values, rate, indexed, provenance)


def z_scores(statistics: ScanStatistics) -> Tensor:
    """(best - mean) / std over the index, (Q,) float64; NaN where all scores are equal."""
    if statistics.count < FEWEST:
        raise InputError(
            f"the index holds {statistics.count} images; an answer needs at least {FEWEST} to "
            "compare with, add more"
        )
    return (statistics.top1 - statistics.mean) / statistics.std


def leave_out(
    statistics: ScanStatistics, query: int, best: float, left_out: Tensor
) -> ScanStatistics:
    """One query's statistics as if the images with scores `left_out` (K,) were not there.

    `best` is the largest score that remains.
    """
    n, k = statistics.count, len(left_out)
    total = float(statistics.mean[query]) * n - float(left_out.sum())
    squares = (float(statistics.std[query]) ** 2 + float(statistics.mean[query]) ** 2) * n
    squares -= float(left_out.square().sum())
    mean = total / (n - k)
    variance = max(squares / (n - k) - mean**2, 0.0)
    one = torch.tensor([mean, variance**0.5, best], dtype=torch.float64)
    return ScanStatistics(one[:1], one[1:2], one[2:], torch.full_like(one[:1], torch.nan), n - k)


def decide(p: float, null: NullScores) -> tuple[Answer, str]:
    """The answer for the best match, and the reason where there is none."""
    if p <= null.rate:
        return Answer.EDIT, ""
    return Answer.NONE, (
        f"the best match stands out no more than in {p:.3g} of searches for images whose origin is "
        f"not here (asked for: {null.rate:g})"
    )
