"""How well anomaly scores separate two sets.  Larger score = more anomalous."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from wherefrom.core.errors import InputError


def auroc(own: Tensor, other: Tensor) -> float:
    """Probability that a score of `other` exceeds one of `own`, ties counted half.

    From the ranks: scikit-learn's function takes a hundred times as long on a few hundred scores,
    and a choice between scores asks for it thousands of times.
    """
    a, b = own.double().numpy(), other.double().numpy()
    if not len(a) or not len(b) or np.isnan(a).any() or np.isnan(b).any():
        raise InputError(
            f"AUROC of {len(a)} own and {len(b)} other scores; give at least 1 of each, and no NaN"
        )
    ordered = np.sort(a)
    below, up_to = (np.searchsorted(ordered, b, side=side) for side in ("left", "right"))
    return float((below + up_to).sum() / (2 * len(a) * len(b)))


def finite_auroc(own: Tensor, other: Tensor) -> float:
    """`auroc` of the scores that are finite numbers; NaN where one side has none."""
    a, b = own[own.isfinite()], other[other.isfinite()]
    return auroc(a, b) if len(a) and len(b) else float("nan")


def finite_mean(values: Sequence[float]) -> float:
    """The mean of the values that are finite numbers; NaN where none is."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else float("nan")


def exact_interval(successes: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion; NaN of nothing."""
    if not count:
        return float("nan"), float("nan")
    from scipy.stats import binomtest

    interval = binomtest(successes, count).proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)


def balanced_accuracy(own_rejected: float, other_rejected: float) -> float:
    """Mean of the share of own images accepted and of others rejected; FLIPAD, Section 5.1."""
    return (1 - own_rejected + other_rejected) / 2
