"""Tests which score sees built-in damage to the user's own images best, and chooses that one.

The damage: the ten corruptions of MNIST-C, at any image size, weak and full.  Real outliers do
not take part, because the choice would then be fitted to them.

Symbols:
    w    intensity: share of the corrupted image in the mixture, (0, 1]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.altering.mnist_corruptions import MNIST_CORRUPTIONS, mnist_corrupt, near_out
from wherefrom.detectors.protocol import Detector
from wherefrom.metrics.detection import finite_auroc, finite_mean

FULL = 1.0
COUNT = len(MNIST_CORRUPTIONS)
CHANCE = 0.5


@dataclass(frozen=True)
class SelfTestRow:
    """AUROC of each score on one corruption at one intensity; NaN where none is finite."""

    corruption: str
    intensity: float
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class SelfTest:
    """The score that sees built-in damage best, and a warning if even that one sees little.

    `means`: mean AUROC per score.  `warning` is empty where nothing is wrong.
    """

    rows: tuple[SelfTestRow, ...]
    means: Mapping[str, float]
    chosen: str
    images: int
    warning: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}


def run_self_test(
    detectors: Mapping[str, Detector],
    images: Tensor,
    *,
    keys: Sequence[str],
    near: float,
    seed: int = 0,
    track: Track = quiet,
) -> SelfTest:
    """Score own images (N, C, H, W) float against themselves, damaged at `near` and in full.

    The score with the largest mean AUROC is chosen, the first of equals.  Images without a finite
    score are left out of its AUROC.
    """
    if len(images) < 2 or not detectors:
        raise InputError(f"a self-test needs 2 own images and a score, there are {len(images)}")
    own = {name: detector.score(images) for name, detector in detectors.items()}
    rows = []
    kinds = track(MNIST_CORRUPTIONS, "testing scores on damaged images", total=COUNT)
    for kind, w, damaged in damage(images, kinds, (near, FULL), keys=keys, seed=seed):
        seen = {n: finite_auroc(own[n], d.score(damaged)) for n, d in detectors.items()}
        rows.append(SelfTestRow(kind, w, seen))
    means = {name: _mean(rows, name) for name in detectors}
    # max keeps the first of equals, and a score that says nothing comes last.
    chosen = max(means, key=lambda name: means[name] if isfinite(means[name]) else -1.0)
    return SelfTest(tuple(rows), means, chosen, len(images), _warning(rows, means, chosen))


def damage(
    images: Tensor,
    kinds: Iterable[str],
    intensities: Sequence[float],
    *,
    keys: Sequence[str],
    seed: int,
) -> Iterator[tuple[str, float, Tensor]]:
    """Corruption, w, and the images (N, C, H, W) float damaged so, for every pair of both."""
    for kind in kinds:
        far = mnist_corrupt(images, kind, keys=keys, seed=seed)
        for intensity in intensities:
            yield kind, intensity, near_out(far, images, intensity)


def _mean(rows: Sequence[SelfTestRow], name: str) -> float:
    return finite_mean([row.auroc[name] for row in rows])


def _warning(rows: Sequence[SelfTestRow], means: Mapping[str, float], chosen: str) -> str:
    full = [row for row in rows if row.intensity == FULL]
    if "nll" in means and (seen := _mean(full, "nll")) < CHANCE:
        return (
            f"under-trained: the likelihood calls corrupted images more normal than clean ones "
            f"(mean AUROC {seen:.2f} on built-in corruptions); train longer"
        )
    if means[chosen] < CHANCE:
        return (
            f"under-trained: no score sees built-in corruptions (the best has mean AUROC "
            f"{means[chosen]:.2f}); train longer"
        )
    return ""
