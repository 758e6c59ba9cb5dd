"""Equations of contributor attribution as pure functions of arrays.

Lu, Lin, Kim, Lee: An Efficient Framework for Crediting Data Contributors of Diffusion Models, 2025.
Its Eq. 5 is KernelSHAP (Lundberg and Lee, 2017) as Covert and Lee (2021) solve it.

Symbols:
    n      number of contributors
    S      a subset of them, a boolean row (n,); its mask is the int with bit i for contributor i
    F      the property of the model of each subset, (m,) float64
    beta   credit, one share per contributor, (n,) float64
    mu     weight of a subset in Eq. 5; all subsets of one size s have the same
    tau    scores of any attribution method, (n,)
"""

from __future__ import annotations

from math import comb, factorial

import numpy as np

from wherefrom.credit.ledger.game import Bools, Floats


def size_law(n: int) -> Floats:
    """Probability of each size 1 .. n-1 under mu, (n-1,).  Eq. 5.

        mu(S) ~ (n-1) / (C(n, s) s (n-s)),   so   p(s) ~ 1 / (s (n-s))

    Deviation: the paper prints the support 1 < s < n; sizes 1 and n-1 belong to it.
    """
    s = np.arange(1, n)
    p = 1.0 / (s * (n - s))
    law: Floats = p / p.sum()
    return law


def all_subsets(n: int) -> Bools:
    """Every subset as a boolean row, (2^n, n); row j is the subset whose mask is j."""
    rows: Bools = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
    return rows


def shapley_weights(n: int) -> Floats:
    """The matrix (n, 2^n) that takes the values of all subsets to the Shapley values.  Eq. 4.

    Entry (i, S) is  1 / (n C(n-1, s-1))  where i is in S, and  -1 / (n C(n-1, s))  where not.
    """
    rows = all_subsets(n)
    size = rows.sum(axis=1)
    inside = np.array([0.0, *(1 / (n * comb(n - 1, s - 1)) for s in range(1, n + 1))])
    outside = np.array([*(1 / (n * comb(n - 1, s)) for s in range(n)), 0.0])
    weights: Floats = np.where(rows, inside[size][:, None], -outside[size][:, None]).T
    return weights


def shapley_value(F: Floats) -> Floats:
    """Exact Shapley values from the values of all 2^n subsets, (n,).  Eq. 4."""
    n = len(F).bit_length() - 1
    return shapley_weights(n) @ F


def kernel_shap(S: Bools, F: Floats, empty: float, full: float) -> Floats:
    """The minimum of Eq. 5 over subsets drawn from mu, (n,).

    beta = A^+ ( b - 1 (1' A^+ b - (full - empty)) / (1' A^+ 1) )
    A = S' S / m,   b = S' (F - empty) / m
    """
    m, n = S.shape
    X = S.astype(np.float64)
    A_inverse = np.linalg.pinv(X.T @ X / m)
    b = X.T @ (F - empty) / m
    ones = np.ones(n)
    excess = (ones @ A_inverse @ b - (full - empty)) / (ones @ A_inverse @ ones)
    beta: Floats = A_inverse @ (b - ones * excess)
    return beta


def banzhaf_weights(n: int) -> Floats:
    """The matrix (n, 2^n) that takes the values of all subsets to the Banzhaf values.

    Entry (i, S) is  1 / 2^(n-1)  where i is in S, and  -1 / 2^(n-1)  where not.
    """
    weights: Floats = np.where(all_subsets(n), 1.0, -1.0).T / 2.0 ** (n - 1)
    return weights


def clone_shares(F: Floats, player: int) -> float:
    """Sum of the Shapley values of `player` i and an exact copy of it, in the game of n + 1.

    F is of the game without the copy.  Both together add what either adds alone, so i counts only
    in subsets without its copy:

        2 sum_S  s! (n-s)! / (n+1)!  (F(S + i) - F(S)),   S without i
    """
    n = len(F).bit_length() - 1
    rows = all_subsets(n)
    without = np.flatnonzero(~rows[:, player])
    gain = F[without | 1 << player] - F[without]
    size = rows[without].sum(axis=1)
    weight = np.array([factorial(s) * factorial(n - s) / factorial(n + 1) for s in range(n)])
    return float(2 * (weight[size] * gain).sum())


def datamodel(S: Bools, tau: Floats) -> Floats:
    """g(S, tau) = sum of tau over the members of S, (m,).  Eq. 9."""
    g: Floats = S.astype(np.float64) @ tau
    return g


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rho with averaged ties; NaN where one side is constant.  Eq. 10."""
    from scipy.stats import rankdata

    return correlation(rankdata(a), rankdata(b))


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r; NaN where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def relative_change(changed: float, full: float) -> float:
    """Delta F = (F_k - F) / F of the counterfactual evaluation, section 4.4."""
    return (changed - full) / full
