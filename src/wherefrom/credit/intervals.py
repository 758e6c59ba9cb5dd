"""From estimates and their covariance to shares with intervals and ranks that hold all at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.game import Floats, Ints
from wherefrom.credit.result import Anchors, Shares

NODES = 200  # of the quadrature; the quantile is right to four digits (tests)
NORMAL_REACH = 9.0  # standard deviations of a normal variable that are integrated over
ROUNDING = 1e-12  # of the largest share: differences below it are rounding, not credit


def share_result(
    method: str,
    centers: Floats,
    covariance: Floats,
    freedom: int,
    anchors: Anchors,
    *,
    runs: int,
    level: float,
    values: Floats | None = None,
    shrinkage: float = 0.0,
    notes: Sequence[str] = (),
) -> Shares:
    """Shares with Bonferroni's intervals and the ranks that Tukey's differences allow.

    `covariance` (n, n) is that of `centers`; NaN or `freedom` below 1 gives infinite intervals.
    """
    if not 0.5 <= level < 1:
        raise InputError(f"level is {level}, but it must be in [0.5, 1)")
    known = freedom >= 1 and bool(np.isfinite(covariance).all())
    covariance = covariance if known else np.full_like(covariance, np.nan)
    errors = np.sqrt(np.diag(covariance).clip(min=0)) if known else np.full(len(centers), np.nan)
    reach = half_widths(errors, freedom, level)
    edge = ROUNDING * float(np.abs(centers).max())
    rank_low, rank_high = ranks(centers, covariance, freedom, level)
    return Shares(
        method=method,
        values=centers if values is None else values,
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
        runs=runs,
        level=level,
        shrinkage=shrinkage,
        notes=tuple(notes),
    )


def half_widths(errors: Floats, freedom: int, level: float) -> Floats:
    """Half-widths that hold for all of `errors` at once; infinite where an error is NaN."""
    if not np.isfinite(errors).all() or freedom < 1:
        return np.full(len(errors), np.inf)
    wide: Floats = errors * bonferroni(len(errors), freedom, level)
    return wide


def bonferroni(count: int, freedom: int, level: float) -> float:
    """The t-quantile at which `count` two-sided intervals hold at once."""
    from scipy.stats import t

    return float(t.ppf(1 - (1 - level) / (2 * count), freedom))


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
