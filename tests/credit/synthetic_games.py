"""Small games whose Shapley values are known, and their runs."""

from math import comb

import numpy as np

from wherefrom.credit.equations import banzhaf_weights
from wherefrom.credit.ledger.game import RunTable, members_of


class MixedGame:
    """Main effects, pairs, triples and an effect of the number of contributors; heavy tails."""

    def __init__(self, players, seed=0, crowd=0.5):
        draw = np.random.default_rng(seed)
        self.main = draw.standard_t(3, players)
        self.terms = [
            (draw.choice(players, count, replace=False), 0.7 * draw.normal())
            for count in [2] * (2 * players) + [3] * players
            if count <= players
        ]
        self.crowd = crowd * np.abs(self.main).sum()

    def __call__(self, masks):
        masks = np.asarray(masks, dtype=np.float64)
        share = masks.mean(axis=1)
        value = masks @ self.main + self.crowd * (1 - np.exp(-4 * share))
        for members, weight in self.terms:
            value = value + weight * masks[:, members].prod(axis=1)
        return value

    def shapley(self):
        """By the axioms: a product is split equally among its members."""
        phi = self.main + self.crowd * (1 - np.exp(-4)) / len(self.main)
        for members, weight in self.terms:
            phi[members] += weight / len(members)
        return phi


def played(design, runs, game, noise=0.0, seed=0):
    """The table of the first `runs` runs of a design."""
    planned = design.take(runs)
    masks = np.array([members_of(run.mask, design.players) for run in planned])
    values = game(masks) + noise * np.random.default_rng(seed).normal(size=len(planned))
    return RunTable(masks, values, np.array([run.seed for run in planned]))


def owen_value(values, groups):
    """Exact Owen values (Owen, 1977) of n players in unions, (n,); `groups` names each one's union.

    Player i of union K, with k members, joins Q, a set of the u - 1 other unions, and a part T of
    its own:

        sum_Q sum_T  [1 / (u C(u-1, |Q|))] [1 / (k C(k-1, |T|))]  (v(Q + T + i) - v(Q + T))
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
                    beta[i] += (values[base | 1 << int(i)] - values[base]) / weight
    return beta


def banzhaf_value(values):
    """Exact Banzhaf values: the mean gain over all subsets without the player, (n,)."""
    return banzhaf_weights(len(values).bit_length() - 1) @ values


def _sums(masks):
    """(count, union) of every subset of disjoint masks."""
    sums = [(0, 0)]
    for mask in masks:
        sums += [(count + 1, union | mask) for count, union in sums]
    return sums
