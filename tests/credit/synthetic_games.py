"""Small games whose Shapley values are known, and their runs."""

import numpy as np

from wherefrom.credit.game import RunTable, members_of


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
