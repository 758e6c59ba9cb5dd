"""Error rates of a method on altered images: the protocol of FLIPAD, Section 5.2 and Table 3.

Own images that the fit has not seen give the threshold, altered like the images that are judged:
the threshold is that of the alteration.  Whether the method was trained on it is a matter of its
settings (`immunise`, `left_out`).

Deviation: the paper trains one detector per alteration, on that alteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.degradations import Alteration
from wherefrom.data.images.writing import to_float
from wherefrom.metrics.detection import balanced_accuracy, finite_auroc


@dataclass(frozen=True)
class AlteredOutcome:
    """Accuracy and AUROC by source of one fit under one alteration, as in `evaluate`."""

    own_rejected: float
    accuracy: Mapping[str, float]
    auroc: Mapping[str, float]


def judge_altered(
    score: Callable[[Tensor], Tensor],
    alteration: Alteration | None,
    *,
    held: Tensor,
    own: Tensor,
    sources: Mapping[str, Tensor],
    rate: float,
    seed: int = 0,
) -> AlteredOutcome:
    """Alter and judge by `score`, of an attributor or of a `protocol.Scorer`.

    All images are uint8 (N, C, H, W), none of them in the fit.
    `held` own images give the threshold at the false-negative rate `rate`, `own` others are kept or
    rejected by it, and so is each of `sources`.  No `alteration`: images as they are.
    """

    def scores(images: Tensor, role: str) -> Tensor:
        if alteration is not None:
            images = alteration.applied(images, derive_seed(seed, "altered", role))
        values = score(to_float(images))
        return values[values.isfinite()]  # of the others `check` says "cannot say"

    threshold = threshold_at_rate(scores(held, "held"), rate)
    mine = scores(own, "own")
    rejected = float((mine > threshold).double().mean())
    accuracy, area = {}, {}
    for name, images in sources.items():
        values = scores(images, f"source {name}")
        share = float((values > threshold).double().mean())  # NaN where there is no score
        accuracy[name] = balanced_accuracy(rejected, share)
        area[name] = finite_auroc(mine, values)
    return AlteredOutcome(rejected, accuracy, area)
