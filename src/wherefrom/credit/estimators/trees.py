"""Shares from boosted trees that are fitted to the runs, and their exact Shapley values.

The trees predict the property of a subset from who is in it.  Shapley values of the fitted trees
are exact, so the only error is that of the fit.  SurrogateSHAP (arXiv 2601.22276, 2026)
proposes trees of the values; `estimate_paired_trees` fits them to what the paired regression
leaves.

Renaming contributors moves these shares a little, because trees break ties by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import factorial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.intervals import Estimate, add_intervals
from wherefrom.credit.estimators.paired import LEVEL, estimate_paired, fit_paired, pair_rows
from wherefrom.credit.estimators.regression import size_features
from wherefrom.credit.estimators.tables import anchors_of, checked, pairs_of, subsets_of
from wherefrom.credit.ledger.game import Bools, Floats, RunTable
from wherefrom.credit.result import Anchors, Shares

if TYPE_CHECKING:
    from sklearn.ensemble import GradientBoostingRegressor

NUMBER, DEPTH, STEP = 100, 3, 0.1  # of trees, of splits on a path, of the part that a tree adds
ROWS_SEEN, MIN_COLUMNS_SEEN, FEW_COLUMNS = 0.8, 1 / 3, 4  # drawn for each tree and split
NO_INTERVALS = "trees give no intervals, so nothing can be paid by them; `paired` does"


class Leaf(NamedTuple):
    """A value that a tree gives to every subset with all of `present` and none of `absent`."""

    present: frozenset[int]
    absent: frozenset[int]
    value: float


def fit_trees(masks: Bools, values: Floats) -> GradientBoostingRegressor:
    """Boosted regression trees of values (m,) on membership (m, n); the same for the same rows."""
    from sklearn.ensemble import GradientBoostingRegressor  # slow to import

    columns = min(1.0, max(MIN_COLUMNS_SEEN, FEW_COLUMNS / masks.shape[1]))
    model = GradientBoostingRegressor(
        n_estimators=NUMBER,
        max_depth=DEPTH,
        learning_rate=STEP,
        subsample=ROWS_SEEN,
        max_features=columns,
        random_state=0,
    )
    return model.fit(masks.astype(np.float64), values)


def leaves(tree: Any) -> Iterator[Leaf]:
    """The leaves of a tree of sklearn, without those that no subset reaches."""
    stack = [(0, frozenset[int](), frozenset[int]())]
    while stack:
        node, present, absent = stack.pop()
        if tree.children_left[node] < 0:
            yield Leaf(present, absent, float(tree.value[node].ravel()[0]))
            continue
        player = int(tree.feature[node])
        if player not in present:
            stack.append((int(tree.children_left[node]), present, absent | {player}))
        if player not in absent:
            stack.append((int(tree.children_right[node]), present | {player}, absent))


def leaf_shares(all_leaves: Sequence[Leaf], players: int) -> Floats:
    """Exact Shapley values of the sum of the leaves' games, (n,).

    A leaf with the value v that needs a players present and b absent is worth v to a subset where
    they are so, and gives by Eq. 4

        v (a-1)! b! / (a+b)!  to each of the a,      - v a! (b-1)! / (a+b)!  to each of the b
    """
    phi = np.zeros(players)
    for present, absent, value in all_leaves:
        a, b = len(present), len(absent)
        whole = factorial(a + b)
        if a:
            phi[list(present)] += value * factorial(a - 1) * factorial(b) / whole
        if b:
            phi[list(absent)] -= value * factorial(a) * factorial(b - 1) / whole
    return phi


def tree_shares(model: GradientBoostingRegressor, players: int) -> Floats:
    """Exact Shapley values of the fitted trees, in units of what they were fitted to, (n,).

    Interventional values of the full set against the empty one.
    """
    trees = [tree.tree_ for tree in model.estimators_[:, 0]]
    return STEP * leaf_shares([leaf for tree in trees for leaf in leaves(tree)], players)


def estimate_trees(table: RunTable, *, level: float = LEVEL) -> Shares:
    """Shapley values of trees that are fitted to the values of all runs.

    What they lack to the gain is added in equal parts.  Any design will do; there are no intervals.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    anchors = anchors_of(runs)
    if not len(subsets_of(runs).values):
        raise InputError("there is no finished run of a part of the contributors yet")
    phi = tree_shares(fit_trees(runs.masks, runs.values), n)
    phi += (anchors.gain - phi.sum()) / n
    return _without_intervals("trees", phi, anchors, len(runs.values), level)


def estimate_paired_trees(
    table: RunTable, *, level: float = LEVEL, accept_shrinkage: bool = False
) -> Shares:
    """Shares of `estimate_paired`, with those of trees of what its regression leaves.

    The differences of complements have the same Shapley values as the game, so the trees are fitted
    to the residuals of the regression, once as they are, and once with the opposite sign for the
    complements.  There are no intervals.
    """
    runs = checked(table)
    n = runs.masks.shape[1]
    paired = estimate_paired(runs, level=level, accept_shrinkage=accept_shrinkage)
    anchors, pairs = anchors_of(runs), pairs_of(runs)
    rows = pair_rows(pairs, anchors)
    rest = rows.differences - rows.members @ fit_paired(pairs, anchors).shrunk
    root, sizes = np.sqrt(rows.weights), size_features(rows.sizes, n)
    rest = rest - sizes @ np.linalg.lstsq(sizes * root[:, None], rest * root, rcond=None)[0]
    masks = np.concatenate([pairs.subsets, ~pairs.subsets])
    phi = tree_shares(fit_trees(masks, np.concatenate([rest, -rest])), n)
    values = paired.values + phi - phi.mean()
    return _without_intervals("paired-trees", values, paired.anchors, paired.runs, level)


def _without_intervals(
    method: str, phi: Floats, anchors: Anchors, runs: int, level: float
) -> Shares:
    estimate = Estimate(
        method=method,
        centers=phi,
        covariance=np.full((len(phi),) * 2, np.nan),
        freedom=0,
        anchors=anchors,
        runs=runs,
        notes=(NO_INTERVALS,),
    )
    return add_intervals(estimate, level)
