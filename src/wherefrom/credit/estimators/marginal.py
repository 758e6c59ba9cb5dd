"""Shares from what single contributors add: orders of joining, Banzhaf values, leave one out."""

from __future__ import annotations

from math import exp, log

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import banzhaf_weights
from wherefrom.credit.estimators.intervals import Estimate, add_intervals
from wherefrom.credit.estimators.kernel_shap_weights import half_sizes, pair_uniform
from wherefrom.credit.estimators.paired import LEVEL, run_variance, with_noise
from wherefrom.credit.estimators.regression import fit_pairs
from wherefrom.credit.estimators.tables import anchors_of, checked, enumerated, orders_of, pairs_of
from wherefrom.credit.ledger.game import Floats, RunTable
from wherefrom.credit.result import Shares

MIN_ORDERS = 8  # of joining, each with its reverse


def estimate_permutation(
    table: RunTable,
    *,
    level: float = LEVEL,
    method: str = "permutation",
    portions: Floats | None = None,
) -> Shares:
    """Mean gains over orders of joining and their reverses, each pair of orders one observation.

        phi_i = mean over K orders of the gain that i brings,   Var = s_i^2 / K + p_i^2 Var(gain)

    s_i^2 is the variance of i's gains (units of the property, squared) over the orders, but never
    below the mean of all contributors': in few orders a contributor may stand in like places each
    time, and its own variance is then far too small.  Below `MIN_ORDERS` orders there are no
    intervals.  Good where runs have little noise: one observation costs 2 (n-1) runs.  If the
    members of a union always join one after the other, the shares are Owen values.  `portions` (n,)
    are p_i, the probability that i joins first: 1/n unless the orders are of unions.  `InputError`
    where no order is complete with its reverse.
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
    notes, first = [], np.full(n, 1 / n) if portions is None else portions
    if not anchors.freedom:
        notes.append("the runs with none and with all were made once; pairs stand for their noise")
        anchors = with_noise(anchors, *run_variance(pairs_of(runs), anchors))
    covariance = np.full((n, n), np.nan)
    if count >= MIN_ORDERS:
        covariance = _order_covariance(gains) / count + anchors.variance * np.outer(first, first)
    else:
        notes.append(f"{count} orders of joining; intervals need {MIN_ORDERS}")
    permutation = Estimate(
        method=method,
        centers=gains.mean(axis=0),
        covariance=covariance,
        freedom=count - 1,
        anchors=anchors,
        runs=count * 2 * (n - 1) + anchors.empty_runs + anchors.full_runs,
        notes=tuple(notes),
        portions=first,
    )
    return add_intervals(permutation, level)


def _order_covariance(gains: Floats) -> Floats:
    """Covariance (n, n) of gains (K, n), no variance below the mean of all."""
    covariance: Floats = np.cov(gains.T)
    own = np.diag(covariance)
    covariance[np.diag_indices(len(own))] = own.clip(min=own.mean())
    return covariance


def estimate_banzhaf(table: RunTable, *, level: float = LEVEL) -> Shares:
    """Banzhaf values: the additive model that is nearest when all subsets are equally likely.

    They rank robustly and do not add up to the gain.  A complete game is computed exactly; else
    half differences of pairs are regressed on membership, each weighed by

        w_s = P(s when all subsets are equally likely) / (part of the pairs that have the size s)

    so that the design they were drawn by does not matter, as long as it draws the subsets of one
    size alike.  Units of the property.  `InputError` for fewer than n complete pairs.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors, game = anchors_of(runs), enumerated(runs)
    if game is not None:
        pull = banzhaf_weights(n)
        covariance = (pull * (game.variance / game.counts)) @ pull.T
        centers, freedom = pull @ game.values, game.freedom
    else:
        centers, covariance, freedom = _banzhaf_regression(runs)
    banzhaf = Estimate(
        method="banzhaf",
        centers=centers,
        covariance=covariance,
        freedom=freedom,
        anchors=anchors,
        runs=len(runs.values),
    )
    return add_intervals(banzhaf, level)


def _banzhaf_regression(runs: RunTable) -> tuple[Floats, Floats, int]:
    n = runs.masks.shape[1]
    anchors, pairs = anchors_of(runs), pairs_of(runs)
    if len(pairs.halves) < n:
        raise InputError(
            f"Banzhaf values of {n} contributors need at least {n} complete pairs of runs, and "
            f"there are {len(pairs.halves)}; make more runs"
        )
    # The empty and the full set are one more pair, with the weight that is theirs.
    ends = exp((1 - n) * log(2))  # 0 above 1,075 contributors
    sizes = pairs.subsets.sum(axis=1) - half_sizes(n)[0]
    drawn = np.bincount(sizes, minlength=len(half_sizes(n))) / len(sizes)
    weights = pair_uniform(n)[sizes] / drawn[sizes]
    X = np.concatenate([pairs.subsets - 0.5, np.full((1, n), 0.5)])
    y = np.append(pairs.halves, anchors.gain / 2)
    fit = fit_pairs(X, y, np.append(weights, len(weights) * ends / (1 - ends)))
    return fit.plain, fit.covariance, fit.freedom


def estimate_leave_one_out(table: RunTable, *, level: float = LEVEL) -> Shares:
    """v(N) - v(N without i): what is lost when one contributor leaves.

    The losses do not add up to the gain.  Intervals need subsets that were run more than once.
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
    leave_one_out = Estimate(
        method="loo",
        centers=groups[0].mean() - lost,
        covariance=covariance,
        freedom=freedom,
        anchors=anchors,
        runs=sum(map(len, groups)),
    )
    return add_intervals(leave_one_out, level)
