"""Split-conformal calibration of anomaly scores.

Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005; Bates et al.: Testing for
Outliers with Conformal p-values, Annals of Statistics 2023.

If a new score is exchangeable with the n calibration scores, its p-value is at most `rate` with
probability at most `rate`, whatever the distribution.  A set of n scores cannot support a rate
below 1 / (n + 1): no p-value can be that small.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wherefrom.core.errors import InputError

# Relative difference of one image's score between processors: at most 2.8e-5 was measured over the
# instruction sets that torch, oneDNN and MKL know (tests/processors); four times that.
ROUNDING = 2.0**-13


def upper_p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """p = (1 + #{calibration >= score}) / (n + 1) per score, (N,) float64: small = too large.

    Calibration scores up to `tie_width` below a score count as equal to it.  An image that is among
    the calibration images thus gets the same p-value on every processor, and p-values only rise.
    A score that is NaN gets p = 1; sorted, it would stand above all numbers.
    """
    ends = _ends_of_ties(calibration)
    below = torch.searchsorted(ends, scores.double().contiguous(), side="left")
    p_values = (1 + len(ends) - below).double() / (len(ends) + 1)
    return torch.where(scores.isnan(), 1.0, p_values)


def lower_p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """p = (1 + #{calibration <= score}) / (n + 1) per score, (N,) float64: small = too small."""
    return upper_p_values(-scores.double(), -calibration.double())


def tie_width(calibration: Tensor) -> float:
    """How far one image's scores may differ between two processors; closer scores count as equal.

    `ROUNDING` times the 90 % quantile of the calibration scores' sizes.
    """
    sizes = calibration.double().abs()
    sizes = sizes[sizes.isfinite()]
    if not len(sizes):
        return 0.0
    return ROUNDING * float(sizes.kthvalue(math.ceil(0.9 * len(sizes))).values)


def _ends_of_ties(calibration: Tensor) -> Tensor:
    """The calibration scores in order, each with the largest score that counts as equal to it."""
    return calibration.double().sort().values + tie_width(calibration)


def require_rate(rate: float, count: int, *, what: str) -> None:
    """An `InputError` if `count` calibration scores cannot support `rate`."""
    needed = needed_samples(rate, what=what)
    if count < needed:
        raise InputError(
            f"a {what} of {rate} cannot be supported by {count} held-out samples; "
            f"use at least {needed} samples, or a rate of at least 1/{count + 1}"
        )


def guaranteed_rate(rate: float, count: int, confidence: float, *, what: str) -> float:
    """The p-value up to which to reject, so that the error rate stays at `rate` with `confidence`.

    Rejecting at p <= rate keeps the rate on average over calibration sets; the set at hand may be
    an unlucky one.  Rejecting at p <= k / (n + 1), the error rate given the set is distributed as
    Beta(k, n + 1 - k) for continuous scores, and smaller with ties (Vovk: Conditional Validity of
    Inductive Conformal Predictors, ACML 2012, Proposition 2).  The largest k is taken for which
    that exceeds `rate` with probability at most 1 - `confidence`.  Confidence 0 is `rate` itself.
    """
    if confidence == 0:
        return rate
    if not 0 < confidence < 1:
        raise InputError(f"the confidence is {confidence}, but it must lie in [0, 1)")
    from scipy.stats import beta

    k = 0
    while k < count and beta.sf(rate, k + 1, count - k) <= 1 - confidence:
        k += 1
    if k == 0:
        needed = needed_samples(rate, what=what, confidence=confidence)
        raise InputError(
            f"a {what} of {rate} with confidence {confidence} cannot be supported by {count} "
            f"held-out samples; use at least {needed}"
        )
    return k / (count + 1)


def needed_samples(rate: float, *, what: str, confidence: float = 0.0) -> int:
    """The smallest number of calibration scores that supports `rate`, with that confidence."""
    if not 0 < rate < 1:
        raise InputError(f"the {what} is {rate}, but it must lie strictly between 0 and 1")
    count = max(1, math.ceil(1 / rate) - 2)
    while not _ranks_within(rate, count):
        count += 1
    guaranteed = math.ceil(math.log1p(-confidence) / math.log1p(-rate))
    return max(count, guaranteed)


def _ranks_within(rate: float, count: int) -> int:
    """The largest k with k / (count + 1) <= rate, decided as the p-values are: in float64."""
    k = math.floor(rate * (count + 1)) + 1
    while k / (count + 1) > rate:
        k -= 1
    return k


def next_p_value(rate: float, count: int) -> float:
    """The smallest p-value above `rate` that `count` calibration scores can give."""
    return (_ranks_within(rate, count) + 1) / (count + 1)


def threshold_at_rate(calibration: Tensor, rate: float) -> float:
    """The score above which upper p-values are at most `rate`.

    This is the ceil((n + 1)(1 - rate))-th smallest calibration score, and what ties with it: the
    (1 - rate)-quantile of FLIPAD, App. G.1, with the finite-sample correction.
    Deviation: the paper takes the plain quantile, whose error rate exceeds `rate` on average.
    """
    require_rate(rate, len(calibration), what="rate")
    n = len(calibration)
    allowed = _ranks_within(rate, n)  # p <= rate needs 1 + #{>=} <= allowed
    return float(_ends_of_ties(calibration)[n - allowed])
