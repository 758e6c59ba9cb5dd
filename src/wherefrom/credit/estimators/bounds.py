"""Bounds of each contributor's part of a pool, and their error over all settlements of it.

Symbols:
    n        number of contributors
    phi      shares, float64 (n,), in units of the property; they add up to the gain
    g        the gain v(N) - v(empty)
    b        phi - g/n, what a share differs from the equal split by; it adds up to zero
    f        phi / g = 1/n + b/g, parts of the gain, without a unit; they add up to 1
    alpha    error of one look: the probability that any bound of it is wrong
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.intervals import half_widths
from wherefrom.credit.ledger.game import Floats
from wherefrom.credit.result import Shares


class PartBounds(NamedTuple):
    """Bounds of f, float64 (n,) each, that hold for all contributors at once; infinite: none."""

    low: Floats
    high: Floats


def error_of_look(level: float, look: int) -> float:
    """The error alpha that payout number `look` of a pool may spend; the first has the number 1.

        alpha_k = (1 - level) / (k (k + 1)),   so   alpha_1 + alpha_2 + ... = 1 - level

    So the bounds of all payouts of a pool hold at once with probability `level`, however many
    there are, if the runs of each were fixed before it.  `InputError` for a look below 1 or a
    level outside [0.5, 1).
    """
    if look < 1 or not 0.5 <= level < 1:
        raise InputError(
            f"payout number {look} at the level {level}; expected 1 and more, and a level in "
            "[0.5, 1)"
        )
    return (1 - level) / (look * (look + 1))


def gain_level(level: float, look: int = 1) -> float:
    """The level of the gain's interval in payout number `look`, which spends half of its error."""
    return 1 - error_of_look(level, look) / 2


def part_bounds(shares: Shares, look: int = 1) -> PartBounds:
    """Bounds of everybody's part of the gain, with the error of payout number `look`.

        f_i = 1/n + b_i / g,   b_i in [b_low, b_high],   g in [g_low, g_high]

    Half of the error goes to b (Bonferroni's over n), the other half to g; whether they are
    independent does not matter.  Infinite where the gain may be zero or the runs carry no error.
    """
    n, error = shares.players, error_of_look(shares.level, look)
    gain, reach = shares.anchors.gain, shares.anchors.reach(1 - error / 2)
    # The covariance of b: that of the centers without what moves all of them alike.
    apart = shares.covariance - shares.covariance.mean(axis=0)
    apart = apart - apart.mean(axis=1)[:, None]
    errors = np.sqrt(np.diag(apart).clip(min=0))
    wide = half_widths(errors, shares.freedom, 1 - error / 2)
    if not np.isfinite(wide).all() or not gain > reach:
        return PartBounds(np.full(n, -np.inf), np.full(n, np.inf))
    b = shares.centers - gain / n
    ends = np.array([gain - reach, gain + reach])[:, None]
    return PartBounds(
        1 / n + ((b - wide) / ends).min(axis=0), 1 / n + ((b + wide) / ends).max(axis=0)
    )
