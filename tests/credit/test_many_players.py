"""Many contributors: refused at once, or computed without a number that no float holds."""

import tracemalloc
from math import comb

import numpy as np
import pytest
from synthetic_games import MixedGame, banzhaf_value, played

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import banzhaf_weights
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.design import (
    DESIGNS,
    EnumerationDesign,
    design_of,
    require_playable,
)
from wherefrom.credit.estimators.kernel_shap_weights import pair_kernel, pair_law, pair_uniform
from wherefrom.credit.ledger.game import MAX_PLAYERS, RunTable, mask_of, members_of

LOG_SPACE = 1e-9  # gammaln of 4,000 is right to 1e-12; its differences are 1e4 times smaller
MAX_BYTES = 2**20  # of a design's first runs


@pytest.mark.parametrize("players", [17, 30, 64, 1100, 10_000])
def test_the_exact_design_is_refused_before_a_subset_is_listed__rejects_players(players):
    for ask in (
        lambda: require_playable("exact", players),
        lambda: design_of("exact", players, 0).take(100),
        lambda: EnumerationDesign(players).take(1),
    ):
        with pytest.raises(InputError, match="at most") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_the_first_runs_of_the_exact_design_list_no_others__limit():
    tracemalloc.start()
    first = EnumerationDesign(16).take(100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(first) == 100
    assert peak < MAX_BYTES


@pytest.mark.parametrize("kind", [kind for kind in DESIGNS if kind != "exact"])
@pytest.mark.parametrize("players", [1100, MAX_PLAYERS])
def test_other_designs_deal_many_players__identity_complements(kind, players):
    runs = design_of(kind, players, 3).take(12)
    assert len(runs) >= 12
    assert all(run.mask.bit_length() <= players for run in runs)
    assert any(0 < run.mask.bit_count() < players for run in runs)


def test_more_players_than_any_estimate_takes_are_refused__rejects_players():
    table = RunTable(np.zeros((1, 10_000), bool), np.zeros(1), np.zeros(1, np.int64))
    for ask in (
        lambda: require_playable("paired", 10_000),
        lambda: design_of("paired", 10_000, 0).take(2),
        lambda: design_of("banzhaf", 10_000, 0).take(2),
        lambda: design_of("loo", 10_000, 0).take(2),
        lambda: estimate(table),
    ):
        with pytest.raises(InputError, match=r"10,000 contributors.*at most 4,096.*groups"):
            ask()


@pytest.mark.parametrize("players", [2, 3, 20, 1100, 4096])
def test_laws_of_sizes_are_finite_and_add_up__closed_form(players):
    for law in (pair_uniform, pair_kernel, pair_law):
        weights = law(players)
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1)


def test_the_uniform_law_is_the_binomial__closed_form():
    n = 1101  # whole numbers of any size stand in for floats
    exact = [comb(n, size) * 10**30 // 2 ** (n - 1) / 1e30 for size in range(1, n // 2 + 1)]
    assert np.allclose(pair_uniform(n), exact, rtol=LOG_SPACE, atol=1e-28)


def test_banzhaf_of_a_complete_game_squares_no_table__limit():
    n = 12  # a square of 4,096 subsets would be 128 MB
    game = MixedGame(n)
    table = played(EnumerationDesign(n), 2**n, game)
    tracemalloc.start()
    shares = estimate(table, "banzhaf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MAX_BYTES
    order = np.argsort([mask_of(row) for row in table.masks])
    assert np.allclose(shares.centers, banzhaf_value(table.values[order]))
    assert np.array_equal(np.abs(banzhaf_weights(3)), np.full((3, 8), 0.25))


@pytest.mark.parametrize("players", [1, 7, 8, 9, 64, 1100])
def test_masks_of_many_players_are_rows_and_back__roundtrip(players):
    row = np.random.default_rng(players).random(players) < 0.5
    assert mask_of(row) == sum(1 << i for i in range(players) if row[i])
    assert np.array_equal(members_of(mask_of(row), players), row)
    with pytest.raises(InputError, match="no subset"):
        members_of(1 << players, players)
