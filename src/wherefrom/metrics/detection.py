"""How well anomaly scores separate two sets.  Larger score = more anomalous."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def auroc(own: Tensor, other: Tensor) -> float:
    """Probability that a score of `other` exceeds one of `own`, ties counted half."""
    from sklearn.metrics import roc_auc_score

    labels = np.r_[np.zeros(len(own)), np.ones(len(other))]
    return float(roc_auc_score(labels, np.r_[own.numpy(), other.numpy()]))


def exact_interval(successes: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion."""
    from scipy.stats import binomtest

    interval = binomtest(successes, count).proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)


def balanced_accuracy(own_rejected: float, other_rejected: float) -> float:
    """Mean of the own share kept and the other share rejected: FLIPAD's accuracy, Section 5.1."""
    return (1 - own_rejected + other_rejected) / 2
