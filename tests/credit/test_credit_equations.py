import itertools
import math

import numpy as np
import pytest
from synthetic_games import MixedGame, banzhaf_value, owen_value

from wherefrom.credit import equations as eq

TIGHT = 1e-12  # sums of at most 2^6 float64 terms of size one


def test_size_law_is_that_of_the_kernel__naive_loop():
    n = 7
    kernel = [(n - 1) / (math.comb(n, s) * s * (n - s)) * math.comb(n, s) for s in range(1, n)]
    assert np.allclose(eq.size_law(n), np.array(kernel) / sum(kernel), rtol=TIGHT)


def test_shapley_of_products__closed_form():
    game = MixedGame(6, seed=4)
    assert np.abs(eq.shapley_value(game(eq.all_subsets(6))) - game.shapley()).max() < 1e-10


def test_shapley_is_the_mean_over_orders__naive_loop():
    n, F = 4, np.random.default_rng(0).normal(size=16)
    gains = np.zeros(n)
    for order in itertools.permutations(range(n)):
        mask = 0
        for player in order:
            gains[player] += F[mask | 1 << player] - F[mask]
            mask |= 1 << player
    assert np.allclose(eq.shapley_value(F), gains / math.factorial(n), rtol=TIGHT)


def test_owen_value_is_the_mean_over_union_orders__naive_loop():
    groups, F = np.array([0, 1, 0, 2, 1]), np.random.default_rng(1).normal(size=32)
    gains, count = np.zeros(5), 0
    for order in itertools.permutations(range(5)):
        changes = sum(groups[a] != groups[b] for a, b in itertools.pairwise(order))
        if changes > 2:  # a union was left before it was complete
            continue
        mask, count = 0, count + 1
        for player in order:
            gains[player] += F[mask | 1 << player] - F[mask]
            mask |= 1 << player
    assert np.allclose(owen_value(F, groups), gains / count, rtol=1e-10)


def test_owen_value_of_single_unions_is_shapley__identity_owen():
    F = np.random.default_rng(2).normal(size=32)
    assert np.allclose(owen_value(F, np.arange(5)), eq.shapley_value(F), rtol=1e-10)


def test_banzhaf_is_the_mean_gain__naive_loop():
    F = np.random.default_rng(3).normal(size=16)
    gains = [np.mean([F[m | 1 << i] - F[m] for m in range(16) if not m >> i & 1]) for i in range(4)]
    assert np.allclose(banzhaf_value(F), gains, rtol=TIGHT)


def test_clone_shares_are_those_of_the_larger_game__naive_loop():
    F = np.random.default_rng(5).normal(size=16)
    larger = np.array([F[m & 15 | (m >> 4 & 1) << 2] for m in range(32)])  # player 4 copies 2
    phi = eq.shapley_value(larger)
    assert np.isclose(eq.clone_shares(F, 2), phi[2] + phi[4], rtol=1e-10)
    assert np.isclose(phi[2], phi[4], rtol=1e-10)


def test_kernel_shap_with_every_subset_at_its_weight_is_exact__limit():
    n, game = 5, MixedGame(5, seed=2)
    rows = eq.all_subsets(n)[1:-1]
    # mu(S) times its common denominator: how often each subset stands in an exact sample.
    times = [12 // (math.comb(n, s) * s * (n - s) // 10) for s in rows.sum(axis=1)]
    repeated = np.repeat(rows, times, axis=0)
    weights = {s: (n - 1) / (math.comb(n, s) * s * (n - s)) for s in range(1, n)}
    assert np.ptp([t / weights[s] for t, s in zip(times, rows.sum(axis=1), strict=True)]) == 0
    ends = game(np.array([[0] * n, [1] * n]))
    found = eq.kernel_shap(repeated, game(repeated), ends[0], ends[1])
    assert np.abs(found - game.shapley()).max() < 1e-10


def test_datamodel_and_rank_correlation__closed_form():
    S = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], dtype=bool)
    g = eq.datamodel(S, np.array([1.0, 2.0, 4.0]))
    assert g.tolist() == [5.0, 6.0, 3.0]
    assert np.isclose(eq.rank_correlation(g, np.array([2.0, 9.0, 1.0])), 1.0)
    assert np.isnan(eq.rank_correlation(g, np.ones(3)))


def test_relative_change__closed_form():
    assert eq.relative_change(1.5, 2.0) == -0.25


@pytest.mark.slow  # shapiq compiles itself when it is imported
@pytest.mark.parametrize("n", [3, 5, 8])
def test_exact_values__reference_shapiq(n):
    shapiq = pytest.importorskip("shapiq")
    game = MixedGame(n, seed=n)
    computer = shapiq.ExactComputer(n_players=n, game=lambda masks: game(np.atleast_2d(masks)))
    for index, ours in (("SV", eq.shapley_value), ("BV", banzhaf_value)):
        theirs = computer(index=index, order=1)
        values = np.array([theirs[(i,)] for i in range(n)])
        assert np.abs(values - ours(game(eq.all_subsets(n)))).max() < 1e-10
