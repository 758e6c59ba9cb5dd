"""How small a defect would a score still catch?  Asked of ten kinds of damage to own images.

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
from wherefrom.data.altering.mnist_corruptions import MNIST_CORRUPTIONS, mnist_corrupt, near_out
from wherefrom.detectors.protocol import Detector
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
class SubtletyCurve:
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
        """JSON values."""
        return {**asdict(self), "half_caught_from": self.least}


def subtlety_curve(
    detector: Detector,
    images: Tensor,
    threshold: float,
    *,
    score: str,
    rate: float,
    keys: Sequence[str],
    intensities: Sequence[float] = CURVE,
    seed: int = 0,
    track: Track = quiet,
) -> SubtletyCurve:
    """AUROC and share above `threshold` of own images (N, C, H, W), damaged ever more strongly.

    `threshold` belongs to the false-alarm `rate`; give images that neither set it nor chose the
    score, as `own_parts` keeps them for the curve.  Fewer than 2 are an `InputError`.
    """
    if len(images) < 2:
        raise InputError(f"a subtlety curve needs 2 own images or more, there are {len(images)}")
    own = detector.score(images)
    points = []
    for kind in track(
        MNIST_CORRUPTIONS, "measuring how small a defect is seen", total=len(MNIST_CORRUPTIONS)
    ):
        far = mnist_corrupt(images, kind, keys=keys, seed=seed)
        for intensity in sorted(intensities):
            seen = detector.score(near_out(far, images, intensity))
            caught = float((seen > threshold).double().mean())
            points.append(SubtletyPoint(kind, intensity, finite_auroc(own, seen), caught))
    return SubtletyCurve(score, rate, len(images), tuple(points))


def _least(points: Sequence[SubtletyPoint]) -> float | None:
    """The start of the run of points, up to the strongest, at which half are caught."""
    found = None
    for point in sorted(points, key=lambda p: -p.intensity):
        if point.caught < HALF:
            break
        found = point.intensity
    return found
