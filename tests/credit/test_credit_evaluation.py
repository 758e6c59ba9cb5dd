import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from synthetic_games import MixedGame, played

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import all_subsets, shapley_value
from wherefrom.credit.estimators.design import EnumerationDesign, PairedDesign
from wherefrom.credit.estimators.paired import estimate_exact, estimate_paired, pair_rows
from wherefrom.credit.estimators.planning import foreseen_shares, plan_runs
from wherefrom.credit.estimators.regression import sum_zero_basis
from wherefrom.credit.estimators.tables import anchors_of, pairs_of
from wherefrom.credit.evaluation.fidelity import certify_proxy
from wherefrom.credit.evaluation.lds import (
    SubsetsDesign,
    counterfactual_masks,
    counterfactual_rows,
    lds_difference,
    lds_rows,
    t_interval,
    variance_split,
)
from wherefrom.credit.evaluation.study_audit import (
    audit_shares,
    check_halves,
    check_linearity,
    compare_split,
)

EFFECT = np.array([5.0, 3.0, -2.0, 1.0, 0.5, 4.0, 0.0, 2.0])


def additive(masks):
    return 10 + np.asarray(masks, dtype=np.float64) @ EFFECT


def held_out(noise=0.0, subsets=20, replicates=3):
    design = SubsetsDesign(8, 0.5, subsets=subsets, replicates=replicates)
    return played(design, 1000, additive, noise=noise, seed=1)


def test_lds_is_the_mean_rank_correlation__reference_scipy():
    table, tau = held_out(noise=2.0), np.arange(8.0)
    row = lds_rows(table, {"tau": tau})[0]
    values = table.values.reshape(3, 20)
    predicted = table.masks[:20] @ tau
    each = [spearmanr(predicted, column).statistic for column in values]
    assert np.isclose(row.lds, np.mean(each))
    # t with two degrees of freedom: 4.303, not 1.96.
    assert np.isclose(row.high - row.lds, 4.30265 * np.std(each, ddof=1) / 3**0.5, rtol=1e-4)
    assert (row.size, row.subsets, row.seeds) == (4, 20, 3)


def test_perfect_scores_reach_one_without_noise__limit():
    row = lds_rows(held_out(), {"true": EFFECT})[0]
    assert np.isclose(row.lds, 1)
    assert np.isclose(row.ceiling, 1)


def test_noise_ceiling_is_what_perfect_scores_get__limit():
    row = lds_rows(held_out(noise=3.0, subsets=60, replicates=8), {"true": EFFECT})[0]
    assert abs(row.ceiling - row.lds) < 0.04
    assert row.ceiling < 0.9


def test_subsets_of_the_fit_are_left_out__identity_held_out():
    table = held_out()
    seen = [int(sum(1 << i for i in np.flatnonzero(table.masks[0])))]
    assert lds_rows(table, {"true": EFFECT}, seen=seen)[0].subsets == 19


def test_lds_of_one_seed_has_no_interval__limit():
    row = lds_rows(held_out(replicates=1), {"true": EFFECT})[0]
    assert math.isnan(row.low)
    assert row.to_dict()["ceiling"] is None


def test_difference_of_a_method_and_itself_is_zero__identity_paired():
    table = held_out(noise=1.0)
    gap = lds_difference(table, EFFECT, EFFECT)[4]
    assert gap == (0.0, 0.0, 0.0)
    gap, low, high = lds_difference(table, EFFECT, -EFFECT)[4]
    assert low > 0.5
    assert low <= gap <= high


def test_too_few_subsets__rejects_lds():
    with pytest.raises(InputError, match="no size has 4 subsets"):
        lds_rows(held_out(subsets=3), {"true": EFFECT})
    with pytest.raises(InputError, match="expected a part"):
        SubsetsDesign(8, 0.01).take(3)


def test_evaluation_subsets_are_of_one_size_and_differ__identity_design():
    runs = SubsetsDesign(8, 0.25, subsets=28, replicates=2).take(100)
    assert len(runs) == 56  # C(8, 2) is 28: all of them
    assert {bin(run.mask).count("1") for run in runs} == {2}
    assert len({run.mask for run in runs[:28]}) == 28
    assert SubsetsDesign(8, 0.25, subsets=28, replicates=3).take(56) == runs


def test_t_interval__closed_form():
    mean, low, high = t_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    assert mean == 2
    assert np.isclose(high - low, 2 * 4.302653 / 3**0.5, rtol=1e-5)


def test_counterfactual_subsets__closed_form():
    subsets = counterfactual_masks(EFFECT)
    assert [count for _, count, _ in subsets] == [1, 1, 2, 2, 3, 3, 5, 5]
    assert subsets[2] == ("remove", 2, 0b11111111 ^ 0b100001)
    assert subsets[3] == ("keep", 2, 0b100001)


def test_counterfactual_changes__closed_form():
    table = played(EnumerationDesign(8), 256, additive)
    rows = counterfactual_rows(table, {"true": EFFECT})[2:4]
    full = 10 + EFFECT.sum()
    assert np.isclose(rows[0].change, -9 / full)
    assert np.isclose(rows[1].change, (19 - full) / full)
    missing = counterfactual_rows(table.at(range(2)), {"true": EFFECT})
    assert [row.change for row in missing] == [None] * 8


def test_variance_split__limit():
    draw = np.random.default_rng(0)
    masks = np.repeat(all_subsets(8)[1:], 4, axis=0)
    subset = np.repeat(3.0 * draw.normal(size=255), 4)
    table = held_out()._replace(
        masks=masks, values=subset + draw.normal(size=1020), seeds=np.tile(np.arange(4), 255)
    )
    split = variance_split(table, sampling=0.25)
    assert abs(split.subset - 9) < 2
    assert abs(split.training - 0.75) < 0.15
    assert split.freedom == 765
    assert split.buy.startswith("subsets")
    with pytest.raises(InputError, match="no subset was run with two seeds"):
        variance_split(table.at(range(0, 1020, 4)))


def test_a_perfect_proxy_is_certified__limit():
    proxy = played(PairedDesign(8), 86, additive, noise=0.2)
    truth = proxy.at(range(26))
    found = certify_proxy(proxy, truth)
    assert np.isclose(found.pearson, 1)
    assert np.isclose(found.bias, 0)
    assert np.allclose(found.corrected.values, estimate_paired(proxy).values, atol=1e-8)


def test_a_bent_proxy_is_corrected__closed_form():
    bent = EFFECT + np.array([2.0, -2, 1, 0, 0, 1, -1, 0])
    proxy = played(PairedDesign(8), 86, lambda m: np.asarray(m, dtype=float) @ bent)
    truth = played(PairedDesign(8), 46, additive)
    found = certify_proxy(proxy, truth)
    assert np.abs(found.corrected.values - EFFECT).max() < 1e-6
    assert np.isclose(found.corrected.anchors.gain, EFFECT.sum())
    assert found.pearson < 0.99
    assert found.matches == 46


def test_too_few_retrains__rejects_certificate():
    proxy = played(PairedDesign(8), 86, additive)
    with pytest.raises(InputError, match="2 subsets were run in both games"):
        certify_proxy(proxy, proxy.at([0, 1]))
    with pytest.raises(InputError, match="together with its complement"):
        certify_proxy(proxy, proxy.at([0, 1, 6, 8, 10]))


def test_the_plan_predicts_the_width_it_leads_to__limit():
    game = MixedGame(10, seed=3)
    pilot = played(PairedDesign(10), 6 + 60, game, noise=2.0)
    plan = plan_runs(pilot, [400], seconds_per_run=36.0)
    shares = estimate_paired(played(PairedDesign(10), 6 + 400, game, noise=2.0))
    real = float(np.mean(shares.high - shares.low)) / 2
    assert 0.7 < plan.rows[0].half_width / real < 1.4
    assert np.isclose(plan.rows[0].hours, 4.0)
    wider = plan_runs(pilot, [100, 200, 800]).rows
    assert wider[0].half_width > wider[1].half_width > wider[2].half_width
    assert wider[0].separated <= wider[2].separated
    assert "groups" in plan.to_dict()["rows"][0]["advice"] or plan.rows[0].relative < 1


def test_a_small_pilot__rejects_pilot():
    with pytest.raises(InputError, match="the pilot has 20 runs in pairs, and 10 contributors"):
        plan_runs(played(PairedDesign(10), 26, MixedGame(10)))


def test_audit_of_a_complete_game__closed_form():
    game = MixedGame(5, seed=1)
    table = played(EnumerationDesign(5), 32, game)
    other = table._replace(values=table.values**2)
    rows = {row.check: row for row in audit_shares(table, list("abcde"), other=other)}
    assert rows["efficiency"].held
    assert rows["linearity"].held
    F = table_values(game)
    larger = [np.array([F[m & 31 | (m >> 5 & 1) << i] for m in range(64)]) for i in range(5)]
    shared = [shapley_value(v)[[i, 5]].sum() for i, v in enumerate(larger)]
    worst = float(np.max(np.array(shared) - shapley_value(F)))
    assert np.isclose(rows["second identity"].value, worst)
    assert rows["second identity"].held == (worst <= 0)


def table_values(game):
    return game(all_subsets(5))


def test_an_additive_game_gains_nothing_from_clones__identity_clone():
    table = played(EnumerationDesign(8), 256, additive)
    rows = {row.check: row for row in audit_shares(table, list("abcdefgh"))}
    assert rows["second identity"].held
    sampled = played(PairedDesign(8), 106, additive, noise=0.1)
    rows = {row.check: row for row in audit_shares(sampled, list("abcdefgh"))}
    assert rows["second identity"].held is None
    assert rows["halves agree"].held


def test_broken_axioms_are_seen__rejects_shares():
    table = played(PairedDesign(8), 206, additive, noise=0.1)
    seeds = np.unique(table.seeds)
    odd = np.isin(table.seeds, seeds[1::2])
    drifted = table._replace(values=table.values + 3.0 * odd * table.masks[:, 0])
    assert not check_halves(drifted, 0.95).held
    other = table.at(range(200))
    assert check_linearity(table, other, 0.95).held is None


def test_a_split_contributor__closed_form():
    before = estimate_exact(played(EnumerationDesign(4, replicates=2), 32, additive4, noise=0.01))

    def split(masks):  # player 4 is the other half of player 1, and both are needed
        masks = np.asarray(masks, dtype=np.float64)
        whole = masks[:, :4].copy()
        whole[:, 1] *= masks[:, 4]
        return additive4(whole)

    after = estimate_exact(played(EnumerationDesign(5, replicates=2), 64, split, noise=0.01))
    report = compare_split(before, after, 1, [1, 4], "b")
    assert abs(report.change) < 0.03  # additive: two needed halves get what the whole got
    assert not report.resolved
    with pytest.raises(InputError, match="expected 6"):
        compare_split(before, after, 1, [1, 4, 5], "b")


def additive4(masks):
    return np.asarray(masks, dtype=np.float64) @ EFFECT[:4]


def test_the_plan_has_the_variance_of_the_weighted_fit__naive_loop():
    pilot = played(PairedDesign(12), 6 + 100, MixedGame(12, seed=3), noise=5.0)
    plan, pairs = plan_runs(pilot, [20000]), pairs_of(played(PairedDesign(12), 20006, additive12))
    rows = pair_rows(pairs, anchors_of(pilot))
    X, w = rows.members, rows.weights
    inverse = np.linalg.inv((X * w[:, None]).T @ X)
    cover = sum_zero_basis(12) @ inverse @ (X * w[:, None] ** 2).T @ X @ inverse
    errors = plan.spread * np.sqrt(np.diag(cover @ sum_zero_basis(12).T))
    foreseen, gain = foreseen_shares(pilot, 20000), anchors_of(pilot)
    apart = np.diag(foreseen.covariance) - gain.variance / 12**2
    assert np.isclose(np.sqrt(apart).mean(), errors.mean(), rtol=0.005)
    assert np.isclose(foreseen.high.mean() - foreseen.low.mean(), 2 * plan.rows[0].half_width)


def additive12(masks):
    return np.asarray(masks, dtype=np.float64).sum(axis=1)
