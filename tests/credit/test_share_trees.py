"""Boosted trees of the runs and their exact Shapley values."""

import numpy as np
import pytest
from synthetic_games import MixedGame, played

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import all_subsets, shapley_value
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.design import KernelShapDesign, PairedDesign
from wherefrom.credit.estimators.paired import estimate_paired
from wherefrom.credit.estimators.trees import (
    STEP,
    Leaf,
    estimate_paired_trees,
    estimate_trees,
    fit_trees,
    leaf_shares,
    leaves,
    tree_shares,
)
from wherefrom.credit.ledger.game import RunTable

ROUNDING = 1e-10  # sums of a thousand leaves of size one
SHAP_ROUNDING = 1e-4  # shap keeps trees in float32
N = 6


def fitted(n=N, runs=60):
    table = played(PairedDesign(n), runs, MixedGame(n), noise=0.3)
    return table, fit_trees(table.masks, table.values)


def test_shares_of_fitted_trees__naive_loop():
    _, model = fitted()
    game = model.predict(all_subsets(N).astype(float))  # the oracle: all 2^n subsets, Eq. 4
    assert np.abs(tree_shares(model, N) - shapley_value(game)).max() < ROUNDING


def test_leaves_of_a_tree_share_out_all_subsets__identity_partition():
    _, model = fitted()
    rows = all_subsets(N)
    for tree in model.estimators_[:3, 0]:
        value, times = np.zeros(len(rows)), np.zeros(len(rows))
        for present, absent, v in leaves(tree.tree_):
            inside = rows[:, list(present)].all(1) & ~rows[:, list(absent)].any(1)
            value, times = value + v * inside, times + inside
        assert (times == 1).all()
        assert np.allclose(value, tree.predict(rows.astype(float)))


def test_a_leaf_is_a_small_game__closed_form():
    both = Leaf(frozenset({0, 1}), frozenset(), 6.0)  # unanimity: split equally
    without = Leaf(frozenset({2}), frozenset({3}), 1.0)  # 2 before 3 half of the time
    assert leaf_shares([both, without], 4).tolist() == [3, 3, 0.5, -0.5]


@pytest.mark.slow  # shap compiles itself when it is imported
def test_shares_of_fitted_trees__reference_shap():
    shap = pytest.importorskip("shap")
    _, model = fitted()
    explain = shap.TreeExplainer(model, np.zeros((1, N)), feature_perturbation="interventional")
    theirs = explain.shap_values(np.ones((1, N)))[0]
    assert np.abs(tree_shares(model, N) - theirs).max() < SHAP_ROUNDING * np.abs(theirs).max()


@pytest.mark.parametrize("method", ["trees", "paired-trees"])
def test_shares_by_trees_add_up_to_the_gain__identity_efficiency(method):
    table, _ = fitted()
    shares = estimate(table, method)
    assert shares.method == method
    assert np.isclose(shares.values.sum(), shares.anchors.gain)
    assert np.isinf(shares.high).all()
    assert not shares.resolved.any()


@pytest.mark.parametrize("by", [estimate_trees, estimate_paired_trees])
def test_the_order_of_finishing_changes_no_bit__identity_order(by):
    table, _ = fitted()
    order = np.random.default_rng(0).permutation(len(table.values))
    assert by(table).to_dict() == by(table.at(order)).to_dict()


def test_trees_see_what_an_additive_fit_does_not__limit():
    """Without noise, trees of the residual take error away from the paired shares."""
    off = {"paired": [], "paired-trees": []}
    for seed in range(6):
        game = MixedGame(8, seed=seed)
        table = played(PairedDesign(8, seed), 6 + 48, game)
        for method, errors in off.items():
            errors.append(np.square(estimate(table, method).values - game.shapley()).sum())
    assert np.mean(off["paired-trees"]) < np.mean(off["paired"])


def test_trees_of_an_additive_game_leave_the_paired_shares__identity_residual():
    weights = np.arange(N, dtype=np.float64)
    table = played(PairedDesign(N), 60, lambda masks: np.asarray(masks, float) @ weights)
    assert np.allclose(estimate_paired_trees(table).values, estimate_paired(table).values)


def test_any_design_will_do_but_some_run_of_a_part_is_needed__rejects_anchors():
    single = played(KernelShapDesign(N), 40, MixedGame(N))
    assert np.isfinite(estimate(single, "trees").values).all()
    with pytest.raises(InputError, match="no finished run of a part"):
        estimate(played(KernelShapDesign(N), 2, MixedGame(N)), "trees")
    with pytest.raises(InputError, match="complete pairs"):
        estimate(single, "paired-trees")


def test_a_tree_adds_a_part_of_its_value__identity_step():
    _, model = fitted()
    assert model.learning_rate == STEP
    table = RunTable(all_subsets(2), np.array([1.0, 1.0, 1.0, 1.0]), np.arange(4))
    assert tree_shares(fit_trees(table.masks, table.values), 2).tolist() == [0, 0]
