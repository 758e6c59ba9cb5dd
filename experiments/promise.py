"""A stated rate, and how a simulation judges it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, t

LEVEL = 0.95
SURE = 1e-4  # the chance that `broken` is said of a promise that holds exactly

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Promise:
    """One rate that the product states, and a world in which the truth is known.

    `simulate(replays, seed)` runs the product's public function, and gives one value in [0, 1] per
    replay: whether the promise was broken in it, or the share that was wrong.  Their mean is to be
    at most `rate`; with `at_least` they say whether it was kept, and the mean is to be at least it.
    """

    name: str
    statement: str
    assumption: str
    code: str  # what holds it, below src/wherefrom
    rate: float
    simulate: Callable[[int, int], Values]
    at_least: bool = False
    suite: int = 60  # replays in the test suite: few, but a rate several times too high shows


@dataclass(frozen=True)
class Realised:
    """The mean over the replays, with its interval."""

    mean: float
    low: float
    high: float
    replays: int

    def holds(self, promise: Promise) -> bool:
        """Whether the interval reaches the promised side."""
        return self.high >= promise.rate if promise.at_least else self.low <= promise.rate


def realised(values: Values, *, level: float = LEVEL) -> Realised:
    """Exact (Clopper-Pearson) for zeros and ones, else Student's interval."""
    count, mean, tail = len(values), float(values.mean()), (1 - level) / 2
    if set(np.unique(values)) <= {0.0, 1.0}:
        events = round(float(values.sum()))
        low = float(beta.ppf(tail, events, count - events + 1)) if events else 0.0
        high = float(beta.isf(tail, events + 1, count - events)) if events < count else 1.0
        return Realised(mean, low, high, count)
    reach = float(values.std(ddof=1)) / count**0.5 * float(t.isf(tail, count - 1))
    return Realised(mean, max(mean - reach, 0.0), min(mean + reach, 1.0), count)


def broken(promise: Promise, values: Values) -> bool:
    """Whether the values are very unlikely if the promise holds: for few replays."""
    return not realised(values, level=1 - 2 * SURE).holds(promise)
