"""Shares of credit, as every estimator returns them.

A larger share is more credit; a contributor with a negative one makes the property smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wherefrom.core.saving.json_text import finite
from wherefrom.credit.ledger.game import Bools, Floats, Ints

MAX_ANCHORS = 10_000  # runs of the empty set, and of the full set


@dataclass(frozen=True)
class Anchors:
    """The property without any data and with all of it.

    `empty`, `full`: means of `empty_runs` and `full_runs` runs, in units of the property.
    `variance`: of their difference, in its square; `freedom`: its degrees of freedom, 0 where it
    could not be measured.
    """

    empty: float
    full: float
    empty_runs: int
    full_runs: int
    variance: float
    freedom: int

    @property
    def gain(self) -> float:
        """v(N) - v(empty), the sum of the shares of an efficient index."""
        return self.full - self.empty

    def reach(self, level: float) -> float:
        """Half width of the gain's interval of probability `level`; infinite where unknown."""
        if self.freedom < 1 or not np.isfinite(self.variance):
            return float("inf")
        return _reach(self.variance, self.freedom, level)

    def needed(self, level: float) -> int | None:
        """How often each of both sets has to be run for a gain larger than its `reach`.

        With m runs each the variance is about  2 variance / (1/m_0 + 1/m_N) / m,  with m - 1
        degrees of freedom.  None where the noise is unknown, there is no gain, or more than
        `MAX_ANCHORS` are needed.
        """
        if self.gain <= 0 or not np.isfinite(self.reach(level)):
            return None
        each = self.variance / (1 / self.empty_runs + 1 / self.full_runs)

        def enough(runs: int) -> bool:
            return self.gain > _reach(2 * each / runs, runs - 1, level)

        low, high = 1, 2
        while not enough(high):
            if high >= MAX_ANCHORS:
                return None
            low, high = high, min(2 * high, MAX_ANCHORS)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


@dataclass(frozen=True)
class Shares:
    """One share per contributor, float64 (n,), in units of the property.

    `values`: the best estimate.  `centers`, `errors`, `low`, `high`: the estimate without
    shrinkage, its standard errors, and the intervals around it that hold for all contributors at
    once with probability `level`; without shrinkage `centers` are the `values`.  Where the runs
    allow no error, errors are NaN and intervals infinite.  The intervals hold for one look at a
    number of runs that was fixed beforehand.  Looking repeatedly and stopping at a pleasing result
    makes errors more frequent (payouts correct for it, `bounds.error_of_look`).
    `covariance` (n, n) and `freedom`: of the `centers`; NaN and 0 where the runs allow none.
    `portions` (n,): the part of the gain in each center, whose error has the degrees of freedom of
    the `anchors`; None where `freedom` holds for the whole error.
    `resolved`: the interval excludes zero, so the sign is known.
    `rank_low`, `rank_high`: the best and the worst rank (1 = most credit) that the intervals allow,
    for all contributors at once.
    `shrinkage`: 0 none, 1 all shares are equal.
    """

    method: str
    values: Floats
    centers: Floats
    errors: Floats
    low: Floats
    high: Floats
    resolved: Bools
    rank_low: Ints
    rank_high: Ints
    anchors: Anchors
    covariance: Floats
    freedom: int
    runs: int
    level: float
    shrinkage: float = 0.0
    notes: tuple[str, ...] = ()
    portions: Floats | None = None

    @property
    def players(self) -> int:
        """n."""
        return len(self.values)

    @property
    def ranking_resolved(self) -> bool:
        """Whether every contributor has one rank only."""
        return bool(np.array_equal(self.rank_low, self.rank_high))

    def to_dict(self) -> dict[str, Any]:
        columns = ("values", "centers", "errors", "low", "high")
        return {
            "method": self.method,
            **{name: finite(getattr(self, name).tolist()) for name in columns},
            "resolved": self.resolved.tolist(),
            "rank_low": self.rank_low.tolist(),
            "rank_high": self.rank_high.tolist(),
            "empty": self.anchors.empty,
            "full": self.anchors.full,
            "gain": self.anchors.gain,
            "gain_error": finite(float(self.anchors.variance) ** 0.5),
            "runs": self.runs,
            "level": self.level,
            "shrinkage": self.shrinkage,
            "notes": list(self.notes),
        }


def _reach(variance: float, freedom: int, level: float) -> float:
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, without its checks

    quantile = float(stdtrit(freedom, (1 + level) / 2))
    return quantile * math.sqrt(variance)
