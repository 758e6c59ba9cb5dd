"""Intervals and ranks of shares that hold for all contributors at once; bounds of payouts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.ledger.game import Floats, Ints
from wherefrom.credit.result import Anchors, Shares

NODES = 200  # of the quadrature; the quantile is right to four digits (tests)
NORMAL_REACH = 9.0  # standard deviations of a normal variable that are integrated over
PART_WEIGHT = 3.0  # of `mixed_freedom`
ROUNDING = 1e-12  # of the largest share: differences below it are rounding, not credit


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate:
    """What an estimator computes of n contributors, in units of the property, without intervals.

    `covariance` (n, n), with `freedom` degrees of freedom, is that of `centers` (n,); NaN, or
    `freedom` below 1, means that these `runs` runs carry no intervals.  `values` (n,): the shares
    after shrinkage, None where they are the centers.  `portions` (n,): how much of the gain is in
    each center, None where `freedom` is that of everything.
    """

    method: str
    centers: Floats
    covariance: Floats
    freedom: int
    anchors: Anchors
    runs: int
    values: Floats | None = None
    shrinkage: float = 0.0
    notes: tuple[str, ...] = ()
    portions: Floats | None = None


def add_intervals(estimate: Estimate, level: float) -> Shares:
    """Shares with Bonferroni's intervals and the ranks that Tukey's differences allow.

    Where `portions` of the gain are in the centers, their covariance has two parts with degrees of
    freedom of their own (`mixed_freedom`).  `InputError` for a level outside [0.5, 1).
    """
    if not 0.5 <= level < 1:
        raise InputError(f"level is {level}, but it must be in [0.5, 1)")
    centers, freedom, anchors = estimate.centers, estimate.freedom, estimate.anchors
    covariance, portions = estimate.covariance, estimate.portions
    known = freedom >= 1 and bool(np.isfinite(covariance).all())
    covariance = covariance if known else np.full_like(covariance, np.nan)
    errors = np.sqrt(np.diag(covariance).clip(min=0)) if known else np.full(len(centers), np.nan)
    mixed: Floats = np.full(len(centers), float(freedom))
    if known and portions is not None:
        mixed = mixed_freedom(errors**2, portions**2 * anchors.variance, freedom, anchors.freedom)
    reach = half_widths(errors, mixed, level)
    edge = ROUNDING * float(np.abs(centers).max())
    rank_low, rank_high = ranks(centers, covariance, freedom, level)
    return Shares(
        method=estimate.method,
        values=centers if estimate.values is None else estimate.values,
        centers=centers,
        errors=errors,
        low=centers - reach,
        high=centers + reach,
        resolved=np.abs(centers) > reach + edge,
        rank_low=rank_low,
        rank_high=rank_high,
        anchors=anchors,
        covariance=covariance,
        freedom=freedom if known else 0,
        runs=estimate.runs,
        level=level,
        shrinkage=estimate.shrinkage,
        notes=estimate.notes,
        portions=portions,
    )


def mixed_freedom(total: Floats, part: Floats, freedom: int, part_freedom: int) -> Floats:
    """Degrees of freedom of variances `total` (n,) of which `part` (n,) has its own, (n,).

        (v + 3 w)^2 / (v^2 / freedom + (3 w)^2 / part_freedom),   w = part,  v = total - part

    Deviation: Satterthwaite (1946) has w where 3 w stands.  His intervals miss too often where the
    part has few degrees of freedom and is not much larger or smaller than the rest: up to 8 % for
    5 % with two of them.  With 3 w none of the mixtures of experiments/promises_credit.py does.
    """
    if part_freedom < 1:
        return np.full(len(total), float(freedom))
    rest, counted = (total - part).clip(min=0), PART_WEIGHT * part
    weight = rest**2 / freedom + counted**2 / part_freedom
    some = weight > 0
    freedoms: Floats = np.full(len(total), float(freedom))
    freedoms[some] = (rest + counted)[some] ** 2 / weight[some]
    return freedoms


def half_widths(errors: Floats, freedom: float | Floats, level: float) -> Floats:
    """Half-widths that hold for all of `errors` (n,) at once; infinite where an error is NaN.

    `freedom`: degrees of freedom, one number or (n,).
    """
    degrees = np.broadcast_to(np.asarray(freedom, dtype=np.float64), errors.shape)
    if not np.isfinite(errors).all() or (degrees < 1).any():
        return np.full(len(errors), np.inf)
    wide: Floats = errors * _bonferroni(len(errors), degrees, level)
    return wide


def bonferroni(count: int, freedom: float, level: float) -> float:
    """The t-quantile at which `count` two-sided intervals hold at once."""
    return float(_bonferroni(count, freedom, level))


def _bonferroni(count: int, freedom: float | Floats, level: float) -> Floats:
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, without its checks

    quantiles: Floats = stdtrit(freedom, 1 - (1 - level) / (2 * count))
    return quantiles


@functools.lru_cache(maxsize=256)
def tukey(count: int, freedom: int, level: float) -> float:
    """The multiple of its standard error that bounds every difference of `count` at once.

    The upper quantile q of the studentised range over sqrt 2, by quadrature (scipy's own takes
    seconds):

        P(range < q) = E_s  n  int phi(z) (Phi(z) - Phi(z - q s))^(n-1) dz,   s^2 ~ chi^2_df / df
    """
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtr

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    s = np.sqrt(chdtri(freedom, 1 - (nodes + 1) / 2) / freedom)[:, None]
    z, step = NORMAL_REACH * nodes, NORMAL_REACH * weights
    density = count * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * step

    def miss(q: float) -> float:
        inside = (ndtr(z) - ndtr(z - q * s)) ** (count - 1)
        return float(weights / 2 @ (inside @ density)) - level

    return float(brentq(miss, 1e-3, 1e4)) / 2**0.5


def ranks(centers: Floats, covariance: Floats, freedom: int, level: float) -> tuple[Ints, Ints]:
    """Best and worst rank, 1 = largest, that the differences allow at once.

    One rank better is lost to each contributor that is certainly above, one worse to each that is
    certainly below.  Tukey's range is exact for independent estimates of one variance, and
    conservative for others (Hayter, 1984, for independent ones).
    """
    n = len(centers)
    if freedom < 1 or not np.isfinite(covariance).all():
        return np.ones(n, dtype=np.int64), np.full(n, n, dtype=np.int64)
    variance = np.diag(covariance)
    spread = np.sqrt((variance[:, None] + variance - 2 * covariance).clip(min=0))
    reach = tukey(n, freedom, level) * spread + ROUNDING * np.abs(centers).max()
    above = centers[None, :] - centers[:, None] > reach
    return 1 + above.sum(axis=1), n - above.sum(axis=0)


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
