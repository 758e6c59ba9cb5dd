"""Many conformal p-values as one: could all images of a set be of the calibrated kind?

Fisher: Statistical Methods for Research Workers, 1932, with the null law of p-values that share one
calibration set.  Symbols:

    n    calibration scores
    m    new scores, with conformal p-values p_1 ... p_m (`conformal`)
    T    -2 * sum(log p_i)

For independent p-values T follows a chi-square law with 2 m degrees of freedom.  Conformal p-values
are not independent: a calibration set that is low by chance makes all of them small.  For m of the
size of n, a test by chi-square rejects far too often (Bates et al.: Testing for Outliers with
Conformal p-values, Annals of Statistics 2023, Section 2.3).  But if the m + n scores are
exchangeable, the law of the ranks does not depend on the scores: new score i + 1 falls into each of
the n + 1 + i gaps between the scores before it with the same probability, a Polya urn.  T is
compared with `DRAWS` draws from that urn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream

DRAWS = 20_000
MAX_STEPS = 20_000_000  # of the urn, over all draws: for more than 1,000 scores there are fewer
MIN_DRAWS = 2000
BLOCK = 2**22  # ranks that are held at once
ROUNDING = 1e-9  # relative: closer values of T count as equal


def combined_p_value(groups: Sequence[tuple[Sequence[float], int]]) -> float:
    """One p-value for all the conformal p-values of `groups`: small = too many are small.

    A group is the p-values of one calibration set, and that set's number of scores.  The result is
    (1 + #{draws with T at least as large}) / (draws + 1), and the same in every run.

    If the new scores are exchangeable with the calibration scores, it is at most `rate` with
    probability at most `rate`, for any m and n (and any `rate` from 1 / (`DRAWS` + 1)).  That
    assumes images that were made independently of one another: copies of one image, or the frames
    of a film, are not.  Ties between scores make it larger.

    Calibration sets of several groups may hold the same images in several states, and are then
    dependent to an unknown degree.  The urn is that of complete dependence, one order of images in
    every group, which spreads T most; for independent sets the result is too large, if anything.

    An `InputError` if there is no p-value, or one that its calibration set cannot give.
    """
    groups = [(p_values, count) for p_values, count in groups if len(p_values)]
    if not groups:
        raise InputError("there is no p-value to combine; give at least one")
    statistic = 0.0
    for p_values, count in groups:
        values = torch.tensor(p_values, dtype=torch.float64)
        if count < 1 or not bool(((values > 0.5 / (count + 1)) & (values <= 1)).all()):
            raise InputError(
                f"p-values of {count} calibration scores lie from 1/{count + 1} to 1; give such"
            )
        statistic += -2 * float(values.log().sum())
    null = _null_statistics(tuple(sorted((count, len(p_values)) for p_values, count in groups)))
    reached = int((null >= statistic * (1 - ROUNDING)).sum())
    return (1 + reached) / (len(null) + 1)


@lru_cache(maxsize=64)
def _null_statistics(sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """Draws of T, (draws,) float64; `sizes`: n and m of each group."""
    total = sum(m for _, m in sizes)
    draws = max(MIN_DRAWS, min(DRAWS, MAX_STEPS // total))
    block = max(1, BLOCK // total)
    smallest = min(n for n, _ in sizes)
    rng = stream(0, "combination", *sizes)
    parts = []
    for start in range(0, draws, block):
        ranks = _urn(smallest, total, min(block, draws - start), rng)
        statistic = torch.zeros(ranks.shape[1], dtype=torch.float64)
        first = 0
        for n, m in sizes:
            statistic += _terms(smallest, n)[ranks[first : first + m].long()].sum(dim=0)
            first += m
        parts.append(statistic)
    return torch.cat(parts)


def _urn(n: int, m: int, draws: int, rng: torch.Generator) -> Tensor:
    """How many of n calibration scores each of m new ones stays below, (m, draws) int32, 0 to n."""
    ranks = torch.empty(m, draws, dtype=torch.int32)
    columns = torch.arange(draws)
    for i in range(m):
        gap = torch.randint(n + 1 + i, (draws,), generator=rng)
        earlier = ranks[(gap - n - 1).clamp_min(0), columns]  # whose gap it shares
        ranks[i] = torch.where(gap <= n, gap.int(), earlier)
    return ranks


def _terms(smallest: int, n: int) -> Tensor:
    """-2 log p by rank, (smallest + 1,) float64, of a group with n scores.

    With more scores than the urn has, p is the smallest one of that part of (0, 1].
    """
    ranks = torch.arange(smallest + 1) * (n + 1) // (smallest + 1)
    return -2 * ((1 + ranks).double() / (n + 1)).log()
