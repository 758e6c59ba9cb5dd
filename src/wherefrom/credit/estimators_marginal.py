"""Estimators from gains of single contributors: orders of joining, Banzhaf, leave one out."""

from __future__ import annotations

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.design import half_sizes, pair_law, pair_uniform
from wherefrom.credit.equations import banzhaf_value
from wherefrom.credit.estimators import LEVEL
from wherefrom.credit.game import Floats, RunTable
from wherefrom.credit.intervals import share_result
from wherefrom.credit.regression import fit_pairs
from wherefrom.credit.result import Shares
from wherefrom.credit.runs import anchors_of, checked, enumerated, orders_of, pairs_of


def estimate_permutation(
    table: RunTable, *, level: float = LEVEL, method: str = "permutation"
) -> Shares:
    """Mean gains over orders of joining and their reverses, each pair of orders one observation.

    Good where runs have no noise: one observation costs 2 (n-1) runs.  If the members of a union
    always join one after the other, the shares are Owen values.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors = anchors_of(runs)
    gains = np.array(orders_of(runs, anchors)).reshape(-1, n)
    count = len(gains)
    if not count:
        raise InputError(
            "no order of joining is complete with its reverse; the permutation method needs runs "
            "of the permutation design"
        )
    shared = anchors.variance / n**2 if anchors.freedom else 0.0
    spread = np.cov(gains.T) / count if count > 1 else np.full((n, n), np.nan)
    used = count * 2 * (n - 1) + anchors.empty_runs + anchors.full_runs
    return share_result(
        method,
        gains.mean(axis=0),
        spread + shared,
        count - 1,
        anchors,
        runs=used,
        level=level,
    )


def estimate_banzhaf(table: RunTable, *, level: float = LEVEL, uniform: bool = False) -> Shares:
    """Banzhaf values: the additive model that is nearest when all subsets are equally likely.

    They rank robustly and do not add up to the gain.  Pairs of the paired design are weighed as if
    drawn uniformly; `uniform` says that they were.  A complete game is computed exactly.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors, game = anchors_of(runs), enumerated(runs)
    if game is not None:
        pull = np.stack([banzhaf_value(row) for row in np.eye(2**n)], axis=1)
        covariance = (pull * (game.variance / game.counts)) @ pull.T
        centers, freedom = pull @ game.values, game.freedom
    else:
        centers, covariance, freedom = _banzhaf_regression(runs, uniform)
    return share_result(
        "banzhaf", centers, covariance, freedom, anchors, runs=len(runs.values), level=level
    )


def _banzhaf_regression(runs: RunTable, uniform: bool) -> tuple[Floats, Floats, int]:
    n = runs.masks.shape[1]
    anchors, pairs = anchors_of(runs), pairs_of(runs)
    if len(pairs.halves) < n:
        raise InputError(
            f"Banzhaf values of {n} contributors need at least {n} complete pairs of runs, and "
            f"there are {len(pairs.halves)}; make more runs"
        )
    # The empty and the full set are one more pair, with the weight that is theirs.
    ends = 2.0 ** (1 - n)
    law = pair_uniform(n) if uniform else pair_law(n)
    sizes = pairs.subsets.sum(axis=1)
    weights = (pair_uniform(n) / law)[sizes - half_sizes(n)[0]]
    X = np.concatenate([pairs.subsets - 0.5, np.full((1, n), 0.5)])
    y = np.append(pairs.halves, anchors.gain / 2)
    fit = fit_pairs(X, y, np.append(weights, len(weights) * ends / (1 - ends)))
    return fit.plain, fit.covariance, fit.freedom


def estimate_leave_one_out(table: RunTable, *, level: float = LEVEL) -> Shares:
    """v(N) - v(N without i): what is lost when one contributor leaves.  It adds up to nothing.

    Intervals need subsets that were run more than once.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors = anchors_of(runs)
    sizes = runs.masks.sum(axis=1)
    groups = [runs.values[sizes == n]]
    groups += [runs.values[(sizes == n - 1) & ~runs.masks[:, i]] for i in range(n)]
    missing = [str(i) for i, values in enumerate(groups[1:]) if not len(values)]
    if missing:
        raise InputError(
            f"leave-one-out lacks the runs without contributor {', '.join(missing[:5])}"
            f"{' and others' if len(missing) > 5 else ''}; run the leave-one-out design"
        )
    freedom = sum(len(values) - 1 for values in groups)
    spread = sum(float(((values - values.mean()) ** 2).sum()) for values in groups)
    variance = spread / freedom if freedom else np.nan
    lost = np.array([values.mean() for values in groups[1:]])
    each = np.array([1 / len(values) for values in groups[1:]])
    covariance = variance * (np.diag(each) + 1 / len(groups[0]))
    return share_result(
        "loo",
        groups[0].mean() - lost,
        covariance,
        freedom,
        anchors,
        runs=sum(map(len, groups)),
        level=level,
    )
