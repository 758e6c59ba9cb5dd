"""Check of the paper's assumption: whether AS-i ranks damaged images as less natural.

The paper assumes that unnatural images have lower complexity and higher vulnerability.  This holds
for some feature models and images, and is reversed for others (Supplement E.1).  So real images are
damaged on purpose, and each score's AUC between damaged and undamaged images is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.anomaly.calibration.cloud import MIN_POINTS, Cloud
from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.equations import anomaly_vectors
from wherefrom.anomaly.measuring.items import check_images, digest_pixels
from wherefrom.anomaly.measuring.scoring import require_gradients, score_images
from wherefrom.anomaly.result import ImageScores
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.data.altering.corruptions import CORRUPTIONS, corrupt
from wherefrom.data.splits import sample_indices
from wherefrom.encoders.features import FeatureEncoder

RESAMPLES = 2000
LEVEL = 0.95
SCORES = ("as_i", "complexity", "vulnerability", "joint")
SOFTER = {1: (2,), 2: (1, 3), 3: (1, 2, 3)}


@dataclass(frozen=True, kw_only=True)
class AssumptionConfig(Config):
    """Settings of `check_assumption`."""

    images: int = setting(12, "real images that are damaged", low=MIN_POINTS)
    grades: int = setting(2, "grades of each damage, of three", low=1, high=3)
    directions: int = setting(2, "noise directions per image, as there are many images", low=1)
    restarts: int = setting(1, "attacks per image", low=1)


@dataclass(frozen=True)
class CorruptionRow:
    """AUC of each score between damaged and undamaged images, for one kind of damage."""

    corruption: str
    grade: int
    auc: dict[str, float]  # per score; above 0.5: damaged images score higher; 0.5 is chance
    interval: tuple[float, float]  # of AS-i's AUC, 95 percent, over images


@dataclass(frozen=True)
class AssumptionCheck:
    """How well each score separates damaged from undamaged real images."""

    rows: tuple[CorruptionRow, ...]
    images: int
    mean: dict[str, float]  # AUC per score, the mean over the rows
    intervals: dict[str, tuple[float, float]]  # of these means, 95 percent, over images

    @property
    def verdict(self) -> str:
        """Whether AS-i "holds", is "inverted", or "unclear", over all the damages together."""
        low, high = self.intervals["as_i"]
        return "holds" if low > 0.5 else "inverted" if high < 0.5 else "unclear"

    @property
    def inverted(self) -> tuple[str, ...]:
        """The damages that AS-i calls more natural than the whole images."""
        return tuple(f"{row.corruption} {row.grade}" for row in self.rows if row.interval[1] < 0.5)

    @property
    def advised(self) -> str:
        """The score to decide by: AS-i where it holds and is not the weaker, else the joint one."""
        strong = self.mean["as_i"] >= self.mean["joint"]
        return "as_i" if self.verdict == "holds" and strong else "joint"

    @property
    def message(self) -> str:
        """One sentence on whether AS-i can be trusted here."""
        low, high = self.intervals["as_i"]
        figures = (
            f"AUC {self.mean['as_i']:.2f} [{low:.2f}, {high:.2f}] over {len(self.rows)} damages"
        )
        wrong = f"; it is inverted for {', '.join(self.inverted)}" if self.inverted else ""
        if self.verdict == "inverted":
            return (
                f"WARNING: AS-i is INVERTED for these images and this encoder ({figures}): damaged "
                f"images look more natural to it. Do not rank by AS-i; the direction-free score "
                f"has AUC {self.mean['joint']:.2f}, vulnerability {self.mean['vulnerability']:.2f}"
            )
        if self.verdict == "unclear":
            return (
                f"WARNING: {self.images} images do not show that AS-i points the right way "
                f"({figures}){wrong}; the direction-free score has AUC {self.mean['joint']:.2f}"
            )
        return f"AS-i points the right way here ({figures}){wrong}"

    def to_dict(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "verdict": self.verdict,
            "inverted": list(self.inverted),
            "advised": self.advised,
            "message": self.message,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AssumptionCheck:
        """The inverse of `to_dict`."""
        rows = tuple(
            CorruptionRow(row["corruption"], row["grade"], row["auc"], _pair(row["interval"]))
            for row in values["rows"]
        )
        intervals = {name: _pair(pair) for name, pair in values["intervals"].items()}
        return cls(rows, values["images"], values["mean"], intervals)


def check_assumption(
    images: Tensor,
    encoder: FeatureEncoder,
    *,
    reals: ImageScores,
    rows: Sequence[int] | None = None,
    config: AnomalyConfig = DEFAULT,
    assumption: AssumptionConfig = AssumptionConfig(),
    seed: int = 0,
    track: Track = quiet,
) -> AssumptionCheck:
    """Damage real images (N, 3, H, W) float in [0, 1], and measure which score ranks them higher.

    At most `assumption.images` of them are used, drawn by their content.  `reals` are scores of the
    real images that shape the joint score.  Where `images` are among these, `rows` says for each
    which one of `reals` it is; it is then measured, damaged or not, against the others.  Fewer than
    5 images are an `InputError`.
    """
    check_images(images)
    light = dataclasses.replace(
        config, directions=assumption.directions, restarts=assumption.restarts
    )
    require_gradients(encoder, light)
    if len(images) < MIN_POINTS:
        raise InputError(
            f"the assumption check got {len(images)} real images, at least {MIN_POINTS} are needed"
        )
    if rows is not None and len(rows) != len(images):
        raise InputError(f"there are {len(images)} images, but {len(rows)} rows of real ones")
    keys = [digest_pixels(image) for image in images]
    drawn = sample_indices(keys, assumption.images, seed=seed)
    chosen, keys = images[drawn].float().cpu(), [keys[i] for i in drawn]
    points = anomaly_vectors(reals.complexity, reals.vulnerability)
    clouds = (
        [Cloud.fit(points)] * len(drawn)
        if rows is None
        else Cloud.without_each(points, [rows[i] for i in drawn])
    )
    whole = _scores(score_images(chosen, encoder, config=light, seed=seed, track=track), clouds)
    draws = torch.randint(
        len(chosen), (RESAMPLES, len(chosen)), generator=stream(seed, "assumption", "bootstrap")
    )
    damages, resampled = [], []
    for kind in CORRUPTIONS:
        for grade in SOFTER[assumption.grades]:
            damaged = corrupt(chosen, kind, grade, keys=keys, seed=seed)
            scores = score_images(damaged, encoder, config=light, seed=seed, track=track)
            wins = {name: _wins(whole[name], s) for name, s in _scores(scores, clouds).items()}
            many = {name: _resampled(table, draws) for name, table in wins.items()}
            auc = {name: float(table.mean()) for name, table in wins.items()}
            interval = _interval(many["as_i"], auc["as_i"], len(chosen))
            damages.append(CorruptionRow(kind, grade, auc, interval))
            resampled.append(many)
    mean = {name: sum(row.auc[name] for row in damages) / len(damages) for name in SCORES}
    intervals = {
        name: _interval(
            torch.stack([many[name] for many in resampled]).mean(dim=0), mean[name], len(chosen)
        )
        for name in SCORES
    }
    return AssumptionCheck(tuple(damages), len(chosen), mean, intervals)


def _scores(scores: ImageScores, clouds: Sequence[Cloud]) -> dict[str, Tensor]:
    """All four scores, each turned so that larger is meant to be less natural.

    `clouds`: one per image, by which its joint score is measured.
    """
    points = anomaly_vectors(scores.complexity, scores.vulnerability)
    joint = [cloud.distance(point[None]) for cloud, point in zip(clouds, points, strict=True)]
    return {
        "as_i": scores.as_i,
        "complexity": -scores.complexity,
        "vulnerability": scores.vulnerability,
        "joint": torch.cat(joint),
    }


def _wins(whole: Tensor, damaged: Tensor) -> Tensor:
    """1 where a damaged image (row) outscores a whole one (column), 1/2 for a tie, (n, n)."""
    return (damaged[:, None] > whole).double() + 0.5 * (damaged[:, None] == whole).double()


def _resampled(wins: Tensor, draws: Tensor) -> Tensor:
    """AUC of each bootstrap draw (B, n) of the images, damaged and whole together, (B,)."""
    count = draws.shape[1]
    often = torch.zeros(len(draws), count, dtype=torch.float64)
    often.scatter_add_(1, draws, torch.ones(draws.shape, dtype=torch.float64))
    return ((often @ wins) * often).sum(dim=1) / count**2


def _interval(values: Tensor, centre: float, count: int) -> tuple[float, float]:
    """The bootstrap's interval of an AUC, widened for `count` images: both ends within [0, 1].

    With few images resamples vary too little: by sqrt((n - 1) / n), and as a normal where
    Student's t with n - 1 degrees is due.  Hesterberg: What Teachers Should Know About the
    Bootstrap, 2015, Section 4.
    """
    from scipy.stats import norm, t

    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    wide = float(t.isf(tail, count - 1) / norm.isf(tail)) * (count / (count - 1)) ** 0.5
    return max(0.0, centre - wide * (centre - low)), min(1.0, centre + wide * (high - centre))


def _pair(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
