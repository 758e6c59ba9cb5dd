"""Shares by exact enumeration, by the default paired regression, and by the paper's KernelSHAP.

Every estimator is a pure function of a table of runs; the order of its rows changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import kernel_shap, shapley_weights
from wherefrom.credit.estimators.design import require_enumerable
from wherefrom.credit.estimators.intervals import Estimate, add_intervals
from wherefrom.credit.estimators.kernel_shap_weights import half_sizes, pair_kernel, pair_law
from wherefrom.credit.estimators.regression import Fit, fit_pairs, size_features, sum_zero_basis
from wherefrom.credit.estimators.tables import (
    ComplementPairs,
    anchors_of,
    checked,
    enumerated,
    pairs_of,
    subsets_of,
)
from wherefrom.credit.ledger.game import Floats, RunTable
from wherefrom.credit.result import Anchors, Shares

LEVEL = 0.95


def estimate_exact(table: RunTable, *, level: float = LEVEL) -> Shares:
    """Shapley values of a game whose every subset was run.  Eq. 4.

        phi = A v,   Cov(phi) = sigma^2 A diag(1 / m_S) A',   A of `shapley_weights`

    The variance sigma^2 of one run (units of the property, squared) comes from parts of the
    contributors that were run more than once.  Where none was, what is left of the differences of
    pairs after an additive fit stands for it (`run_variance`): noise and interactions together, so
    the intervals are too wide rather than too narrow.  `InputError` where a subset is missing.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    game = enumerated(runs)
    if game is None:
        require_enumerable(n)
        raise InputError(
            f"the ledger has {len(runs.values)} runs, but the exact method needs each of the "
            f"2^{n} subsets of {n} contributors; make more runs or use the paired method"
        )
    notes, variance, freedom = [], game.variance, game.freedom
    if not freedom:
        variance, freedom = run_variance(pairs_of(runs), anchors_of(runs))
        notes.append("each subset was run once; interactions count as noise in the intervals")
    pull = shapley_weights(n)
    covariance = (pull * (variance / game.counts)) @ pull.T
    anchors = with_noise(anchors_of(runs), variance, freedom)
    exact = Estimate(
        method="exact",
        centers=pull @ game.values,
        covariance=covariance,
        freedom=freedom,
        anchors=anchors,
        runs=len(runs.values),
        notes=tuple(notes),
    )
    return add_intervals(exact, level)


def estimate_paired(
    table: RunTable, *, level: float = LEVEL, accept_shrinkage: bool = False
) -> Shares:
    """Shapley values from pairs of a subset and its complement: the default.

    Half differences d = (v(S) - v(S'))/2 are regressed on membership in sum-zero directions, with
    the law of Eq. 5 as weights.  Against Eq. 5 as the paper solves it:

    Deviation: pairs instead of single subsets, so that everything even cancels (Covert and Lee,
    2021); the effect of the number of contributors is taken out (`size_features`); the values are
    drawn toward the equal split by a ridge (`fit_pairs`); intervals are HC3 with one cluster per
    pair.  The intervals belong to the estimate without the ridge, `centers`.

    Fewer than 2(n-1) paired runs are an `InputError` unless `accept_shrinkage`.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors, pairs = anchors_of(runs), pairs_of(runs)
    _require_runs(2 * len(pairs.halves), n, accept_shrinkage)
    notes = [f"{pairs.unpaired} runs wait for their complement"] if pairs.unpaired else []
    fit = fit_paired(pairs, anchors)
    if not anchors.freedom:
        notes.append("the runs with none and with all were made once; pairs stand for their noise")
        anchors = with_noise(anchors, *run_variance(pairs, anchors))
    basis, equal = sum_zero_basis(n), anchors.gain / n
    paired = Estimate(
        method="paired",
        centers=equal + basis @ fit.plain,
        covariance=basis @ fit.covariance @ basis.T + anchors.variance / n**2,
        freedom=fit.freedom,
        anchors=anchors,
        runs=2 * len(pairs.halves) + anchors.empty_runs + anchors.full_runs,
        values=equal + basis @ fit.shrunk,
        shrinkage=fit.shrinkage,
        notes=tuple(notes),
        portions=np.full(n, 1 / n),
    )
    return add_intervals(paired, level)


class PairRegression(NamedTuple):
    """Rows of the paired regression: membership (k, n-1), differences, weights and sizes (k,)."""

    members: Floats
    differences: Floats
    weights: Floats
    sizes: Floats


def pair_rows(pairs: ComplementPairs, anchors: Anchors) -> PairRegression:
    """Membership in sum-zero directions, and differences beyond the equal split."""
    n = pairs.subsets.shape[1]
    sizes = pairs.subsets.sum(axis=1)
    return PairRegression(
        members=(pairs.subsets - 0.5) @ sum_zero_basis(n),
        differences=pairs.halves - anchors.gain / n * (sizes - n / 2),
        weights=(pair_kernel(n) / pair_law(n))[sizes - half_sizes(n)[0]],
        sizes=sizes.astype(np.float64),
    )


def fit_paired(pairs: ComplementPairs, anchors: Anchors) -> Fit:
    """The regression of the paired estimator; its coefficients are sum-zero directions (n-1,)."""
    rows = pair_rows(pairs, anchors)
    features = size_features(rows.sizes, pairs.subsets.shape[1])
    return fit_pairs(rows.members, rows.differences, rows.weights, features)


def run_variance(pairs: ComplementPairs, anchors: Anchors) -> tuple[float, int]:
    """The variance of one run in units of the property squared, and its degrees of freedom.

    Twice the residual variance of half differences after an additive fit in which every pair
    weighs the same: with other weights it would be that of a weighted run, not of one.  NaN and 0
    where the pairs leave nothing to judge it by.
    """
    rows = pair_rows(pairs, anchors)
    features = size_features(rows.sizes, pairs.subsets.shape[1])
    fit = fit_pairs(rows.members, rows.differences, np.ones(len(rows.weights)), features)
    return 2 * fit.residual, fit.freedom


def estimate_kernel_shap(table: RunTable, *, level: float = LEVEL) -> Shares:
    """The paper's estimator, as a baseline: Eq. 5 with the subsets' own second moments.

    It has no intervals: single subsets give no honest ones at the budgets in question.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors, inner = anchors_of(runs), subsets_of(runs)
    if not len(inner.values):
        raise InputError("there is no finished run of a part of the contributors yet")
    beta = kernel_shap(inner.masks, inner.values, anchors.empty, anchors.full)
    kernelshap = Estimate(
        method="kernelshap",
        centers=beta,
        covariance=np.full((n, n), np.nan),
        freedom=0,
        anchors=anchors,
        runs=len(runs.values),
        notes=("the paper's estimator has no intervals",),
    )
    return add_intervals(kernelshap, level)


def _require_runs(paired: int, n: int, accept_shrinkage: bool) -> None:
    needed = 2 * (n - 1)
    if paired < needed and not (accept_shrinkage and paired):
        raise InputError(
            f"{n} contributors need at least {needed} runs in complete pairs, and there are "
            f"{paired}; make more runs, merge contributors, or accept shares that are drawn "
            "toward the equal split"
        )


def with_noise(anchors: Anchors, variance: float, freedom: int) -> Anchors:
    """The anchors with the variance of one run where they have none of their own.

    Var(gain) = variance (1 / m_0 + 1 / m_N)
    """
    if anchors.freedom:
        return anchors
    each = 1 / anchors.empty_runs + 1 / anchors.full_runs
    return replace(anchors, variance=variance * each, freedom=freedom)
