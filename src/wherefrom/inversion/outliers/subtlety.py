"""How small a defect a score still catches, by ten kinds of damage to own images.

AUROC and the share caught at a false-alarm rate, against the intensity of the damage.

Symbols:
    w    intensity: share of the corrupted image in the mixture, (0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.altering.mnist_corruptions import MNIST_CORRUPTIONS
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.data.images.writing import to_float
from wherefrom.detectors.protocol import Detector
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.outliers.calibrated import OutlierCalibration, OwnImages, own_parts
from wherefrom.inversion.outliers.self_test import COUNT, damage
from wherefrom.metrics.detection import finite_auroc

CURVE = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
HALF = 0.5


@dataclass(frozen=True)
class SubtletyPoint:
    """One corruption at one intensity; `caught`: share flagged at the false-alarm rate."""

    corruption: str
    intensity: float
    auroc: float
    caught: float


@dataclass(frozen=True)
class SubtletyCurve(AsTable):
    """How small a defect would still be caught, by kind of damage to the user's own images."""

    score: str
    rate: float
    images: int
    points: tuple[SubtletyPoint, ...]

    @property
    def least(self) -> dict[str, float | None]:
        """Per corruption, the least intensity from which on at least half are caught."""
        return {
            kind: _least([p for p in self.points if p.corruption == kind])
            for kind in dict.fromkeys(p.corruption for p in self.points)
        }

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "half_caught_from": self.least}

    def as_table(self) -> tuple[Rows, str]:
        return self.to_dict()["points"], f"damage seen by {self.score}"


def measure_subtlety(
    fitted: FittedInverter,
    calibration: OutlierCalibration,
    own: OwnImages,
    *,
    rate: float,
    intensities: Sequence[float] = CURVE,
    seed: int = 0,
    track: Track = quiet,
) -> SubtletyCurve:
    """The curve of a calibrated score at the false-alarm `rate`.

    Of the own images it is calibrated on, the part is damaged that neither set the threshold nor
    chose the score (`own_parts`, of the same `seed`).  Fewer than 2 are an `InputError`.
    """
    rows = own_parts(own.keys, seed=seed)["curve"]
    points = subtlety_points(
        calibration.detector(fitted),
        to_float(own.images[rows]),
        calibration.threshold(rate),
        keys=[own.keys[row] for row in rows],
        intensities=intensities,
        seed=seed,
        track=track,
    )
    return SubtletyCurve(calibration.score, rate, len(rows), points)


def subtlety_points(
    detector: Detector,
    images: Tensor,
    threshold: float,
    *,
    keys: Sequence[str],
    intensities: Sequence[float] = CURVE,
    seed: int = 0,
    track: Track = quiet,
) -> tuple[SubtletyPoint, ...]:
    """AUROC and share above `threshold` of images (N, C, H, W) float, damaged at `intensities`."""
    if len(images) < 2:
        raise InputError(f"a subtlety curve needs 2 own images or more, there are {len(images)}")
    own = detector.score(images)
    points = []
    kinds = track(MNIST_CORRUPTIONS, "measuring how small a defect is seen", total=COUNT)
    for kind, w, damaged in damage(images, kinds, sorted(intensities), keys=keys, seed=seed):
        scores = detector.score(damaged)
        caught = float((scores > threshold).double().mean())
        points.append(SubtletyPoint(kind, w, finite_auroc(own, scores), caught))
    return tuple(points)


def _least(points: Sequence[SubtletyPoint]) -> float | None:
    """The start of the run of points, up to the strongest, at which half are caught."""
    start = None
    for point in sorted(points, key=lambda p: -p.intensity):
        if point.caught < HALF:
            break
        start = point.intensity
    return start
