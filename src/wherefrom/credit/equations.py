"""Equations of contributor attribution as pure functions of arrays.

Lu, Lin, Kim, Lee: An Efficient Framework for Crediting Data Contributors of Diffusion Models, 2025.
Its Eq. 5 is KernelSHAP (Lundberg and Lee, 2017) as Covert and Lee (2021) solve it.

Symbols:
    n      number of contributors
    S      a subset of them, a boolean row (n,); its number is the int with bit i for contributor i
    F      the property of the model of each subset, (m,) float64
    beta   credit, one share per contributor, (n,) float64
    mu     weight of a subset in Eq. 5; all subsets of one size s have the same
    tau    scores of any attribution method, (n,)
"""

from __future__ import annotations

from math import comb, factorial

import numpy as np
from numpy.typing import NDArray

from wherefrom.credit.game import Bools, Floats


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
    """Every subset, row j being the one whose int is j, (2^n, n)."""
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
    one = np.ones(n)
    excess = (one @ A_inverse @ b - (full - empty)) / (one @ A_inverse @ one)
    beta: Floats = A_inverse @ (b - one * excess)
    return beta


def owen_value(F: Floats, groups: NDArray[np.int64]) -> Floats:
    """Exact Owen values (Owen, 1977) of n players in unions, (n,); `groups` names each one's union.

    Player i of union K, with k members, joins Q, a set of the u - 1 other unions, and a part T of
    its own:

        sum_Q sum_T  [1 / (u C(u-1, |Q|))] [1 / (k C(k-1, |T|))]  (F(Q + T + i) - F(Q + T))
    """
    n = len(groups)
    unions = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    number = [int(sum(1 << int(i) for i in union)) for union in unions]
    u = len(unions)
    beta = np.zeros(n)
    for own, union in enumerate(unions):
        others = [number[j] for j in range(u) if j != own]
        for i in union:
            mates = [1 << int(j) for j in union if j != i]
            for q, q_mask in _sums(others):
                for t, t_mask in _sums(mates):
                    weight = u * comb(u - 1, q) * len(union) * comb(len(union) - 1, t)
                    base = q_mask | t_mask
                    beta[i] += (F[base | 1 << int(i)] - F[base]) / weight
    return beta


def banzhaf_weights(n: int) -> Floats:
    """The matrix (n, 2^n) that takes the values of all subsets to the Banzhaf values.

    Entry (i, S) is  1 / 2^(n-1)  where i is in S, and  -1 / 2^(n-1)  where not.
    """
    weights: Floats = np.where(all_subsets(n), 1.0, -1.0).T / 2.0 ** (n - 1)
    return weights


def banzhaf_value(F: Floats) -> Floats:
    """Exact Banzhaf values: the mean gain over all subsets without the player, (n,)."""
    return banzhaf_weights(len(F).bit_length() - 1) @ F


def clone_shares(F: Floats, player: int) -> float:
    """What `player` and an exact copy of it get together in the game of n + 1, from the old F.

    Both together add what one adds, so i counts only where its copy is not there:

        2 sum_S  s! (n-s)! / (n+1)!  (F(S + i) - F(S)),   S without i
    """
    n = len(F).bit_length() - 1
    rows = all_subsets(n)
    without = np.flatnonzero(~rows[:, player])
    gain = F[without | 1 << player] - F[without]
    size = rows[without].sum(axis=1)
    weight = np.array([factorial(s) * factorial(n - s) / factorial(n + 1) for s in range(n)])
    return float(2 * (weight[size] * gain).sum())


def inception_score(p: Floats) -> float:
    """IS of class probabilities p(y|x), (N, K), rows that add up to 1.  Eq. 7."""
    mean = p.mean(axis=0)
    return float(np.exp((_x_log(p) - _x_log(p, mean)).sum(axis=1).mean()))


def cluster_entropy(p: Floats) -> float:
    """- sum_k p_k log p_k in nats, p (K,) being shares that add up to 1.  Eq. 8."""
    return float(-_x_log(p).sum())


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


def _sums(masks: list[int]) -> list[tuple[int, int]]:
    """(count, union) of every subset of disjoint masks."""
    found = [(0, 0)]
    for mask in masks:
        found += [(count + 1, union | mask) for count, union in found]
    return found


def _x_log(p: Floats, of: Floats | None = None) -> Floats:
    """p log `of` (p log p by default), 0 where p is 0."""
    other = p if of is None else np.broadcast_to(of, p.shape)
    out: Floats = p * np.log(np.where(p > 0, other, 1.0))
    return out
