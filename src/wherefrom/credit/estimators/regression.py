"""Weighted least squares of pair differences, with a ridge chosen by restricted likelihood."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wherefrom.credit.ledger.game import Floats

RANK_TOLERANCE = 1e-9  # of the largest singular value: below it a direction was not measured
SHRINKAGES = np.logspace(
    -10, 4, 141
)  # tried strengths, as a part of the mean squared singular value
FULL_LEVERAGE = 1e-9  # a row that only itself fits has no residual


class Fit(NamedTuple):
    """Coefficients (p,) without and with shrinkage, their covariance (p, p), residual variance.

    `freedom` is 0, and the covariance NaN, where the rows do not fix every coefficient or leave
    nothing to judge the fit by.  `shrinkage`: 0 none, 1 all coefficients are zero.
    """

    plain: Floats
    shrunk: Floats
    covariance: Floats
    freedom: int
    shrinkage: float
    residual: float


def sum_zero_basis(n: int) -> Floats:
    """Orthonormal columns that span the vectors of sum zero, (n, n-1): the Helmert contrasts."""
    basis = np.zeros((n, n - 1))
    for j in range(1, n):
        basis[:j, j - 1] = 1.0
        basis[j, j - 1] = -j
    contrasts: Floats = basis / np.sqrt((basis**2).sum(axis=0))
    return contrasts


def size_features(sizes: Floats, n: int) -> Floats:
    """Columns for the effect of the number of contributors on a difference, (k, 2).

        u = (2s - n) / n,   columns u and u (1 - u^2)

    Both are odd, as differences are.  By symmetry they are uncorrelated with every sum-zero
    direction, so they take away noise and no credit.
    """
    u = (2 * sizes - n) / n
    features: Floats = np.stack([u, u * (1 - u**2)], axis=1)
    return features


def fit_pairs(X: Floats, y: Floats, weights: Floats, nuisance: Floats | None = None) -> Fit:
    """Regress y (k,) on X (k, p) beside nuisance columns (k, q).

    The covariance is HC3: every row, which is one pair, may have a variance of its own.  Shrinkage
    is the ridge whose strength has the largest restricted likelihood (coefficients of one common
    variance); it needs no grid of held-out rows, and holds where rows are fewer than columns.
    """
    root = np.sqrt(weights)
    X, y = X * root[:, None], y * root
    hats = np.zeros(len(y))
    rank = 0
    if nuisance is not None:
        Q = _column_space(nuisance * root[:, None])
        X, y = X - Q @ (Q.T @ X), y - Q @ (Q.T @ y)
        hats, rank = (Q**2).sum(axis=1), Q.shape[1]
    U, scale, Vt = np.linalg.svd(X, full_matrices=False)
    measured = scale > RANK_TOLERANCE * max(scale.max(initial=0.0), 1e-300)
    U, scale, Vt = U[:, measured], scale[measured], Vt[measured]
    along = U.T @ y
    rest = y - U @ along
    freedom = len(y) - rank - len(scale)
    plain = Vt.T @ (along / scale)
    strength = _evidence_ridge(along, scale, float(rest @ rest), len(y) - rank, X.shape[1])
    factors = scale**2 / (scale**2 + strength)
    shrinkage = 1 - float(factors.sum()) / X.shape[1]
    covariance = _hc3(U / scale @ Vt, rest, hats + (U**2).sum(axis=1))
    if freedom < 1 or len(scale) < X.shape[1] or not np.isfinite(covariance).all():
        freedom, covariance = 0, np.full((X.shape[1],) * 2, np.nan)
    residual = float(rest @ rest) / freedom if freedom else float("nan")
    return Fit(plain, Vt.T @ (factors * along / scale), covariance, freedom, shrinkage, residual)


def _column_space(columns: Floats) -> Floats:
    Q, scale, _ = np.linalg.svd(columns, full_matrices=False)
    basis: Floats = Q[:, scale > RANK_TOLERANCE * max(scale.max(initial=0.0), 1e-300)]
    return basis


def _evidence_ridge(along: Floats, scale: Floats, rest: float, rows: int, columns: int) -> float:
    """The ridge with the largest restricted likelihood, the variance of the rows profiled out."""
    if not len(scale):
        return 0.0
    strengths = SHRINKAGES * float((scale**2).mean())
    factors = scale**2 / (scale**2 + strengths[:, None])
    unexplained = rest + (1 - factors) @ along**2
    spread = np.log1p(scale**2 / strengths[:, None]).sum(axis=1)
    badness = rows * np.log(unexplained.clip(min=1e-300)) + spread
    best = int(badness.argmin())
    measured = len(scale) == columns
    return 0.0 if best == 0 and measured else float(strengths[best])


def _hc3(pull: Floats, rest: Floats, hats: Floats) -> Floats:
    """sum over rows of (pull e / (1 - h)) (pull e / (1 - h))', `pull` (k, p) being X (X'X)^-1."""
    if (hats > 1 - FULL_LEVERAGE).any():
        return np.full((pull.shape[1],) * 2, np.nan)
    each = pull * (rest / (1 - hats))[:, None]
    covariance: Floats = each.T @ each
    return covariance
