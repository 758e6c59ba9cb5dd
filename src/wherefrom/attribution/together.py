"""Many samples of one origin, judged as one: could all of them be this model's?

One row of eleven numbers says little about its origin, a table of them says much.  Symbols:

    n    held-out own samples of the calibration
    k    their scores that are extreme: a sample is rejected where fewer than k of them are larger
    m    samples asked about, K of them rejected

If all m are the model's, they and the n are exchangeable, and K follows a beta-binomial law with m
trials and parameters k and n + 1 - k (each new score is rejected if it is beyond the same order
statistic of the n, whose share beyond is Beta(k, n + 1 - k)).  Exact for continuous scores; ties
make K smaller, and the p-value is then too large, which is the safe side.

Deviation: the paper judges every sample alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wherefrom.core.errors import InputError


@dataclass(frozen=True)
class Together:
    """How many of `judged` samples do not fit, how many were expected, and how rare that is."""

    judged: int
    rejected: int
    expected: float
    p_value: float  # of at least so many, were all of them the model's

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def judge_together(p_values: Sequence[float], *, calibration: int, rate: float) -> Together:
    """The p-value of a whole set, from the conformal p-values of its samples.

    `calibration` is n, `rate` the p-value at or below which a sample is rejected.  An `InputError`
    if there is no sample, or the calibration cannot support the rate.
    """
    from scipy.stats import betabinom

    k = math.floor(rate * (calibration + 1) + 1e-9)
    if not p_values or k < 1:
        raise InputError(
            f"{len(p_values)} samples at a rate of {rate} with {calibration} held-out samples; "
            f"give at least one sample and a rate of at least 1/{calibration + 1}"
        )
    rejected = sum(p <= k / (calibration + 1) + 1e-12 for p in p_values)
    law = (len(p_values), k, calibration + 1 - k)
    expected, p_value = betabinom.mean(*law), betabinom.sf(rejected - 1, *law)
    return Together(len(p_values), rejected, float(expected), float(p_value))
