import numpy as np
import pytest
from scipy.stats import studentized_range, t
from synthetic_games import MixedGame, banzhaf_value, owen_value, played

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import all_subsets
from wherefrom.credit.estimators.design import (
    EnumerationDesign,
    KernelShapDesign,
    LeaveOneOutDesign,
    PairedDesign,
    PermutationDesign,
    UniformDesign,
)
from wherefrom.credit.estimators.intervals import mixed_freedom, tukey
from wherefrom.credit.estimators.marginal import (
    estimate_banzhaf,
    estimate_leave_one_out,
    estimate_permutation,
)
from wherefrom.credit.estimators.owen import (
    estimate_owen,
    group_sums,
    ward_groups,
)
from wherefrom.credit.estimators.paired import (
    estimate_exact,
    estimate_kernel_shap,
    estimate_paired,
    run_variance,
)
from wherefrom.credit.estimators.regression import fit_pairs
from wherefrom.credit.estimators.tables import anchors_of, orders_of, pairs_of
from wherefrom.credit.ledger.game import RunTable

ADDITIVE = np.array([3.0, -1.0, 0.5, 0.0, 2.0, 1.0, 0.25])


def additive(masks):
    return 10 + np.asarray(masks, dtype=np.float64) @ ADDITIVE


def off(values, truth):
    """Relative error of the centred shares."""
    return np.linalg.norm(values - truth) / np.linalg.norm(truth - truth.mean())


@pytest.mark.parametrize("n", [2, 3, 6])
def test_exact__closed_form(n):
    game = MixedGame(n, seed=n)
    shares = estimate_exact(played(EnumerationDesign(n), 2**n, game))
    assert np.abs(shares.values - game.shapley()).max() < 1e-10


def test_paired_of_an_additive_game__closed_form():
    shares = estimate_paired(played(PairedDesign(7), 6 + 40, additive))
    assert np.abs(shares.values - ADDITIVE).max() < 1e-8
    assert np.abs(shares.centers - ADDITIVE).max() < 1e-10
    assert (shares.rank_low == [1, 7, 4, 6, 2, 3, 5]).all()
    assert shares.ranking_resolved
    assert shares.resolved.tolist() == [True, True, True, False, True, True, True]


@pytest.mark.parametrize(("design", "estimate", "bound"), [
    (PairedDesign, estimate_paired, 0.03),
    (PermutationDesign, estimate_permutation, 0.05),
    (KernelShapDesign, estimate_kernel_shap, 0.12),
])  # fmt: skip
def test_many_runs_come_to_shapley__limit(design, estimate, bound):
    game = MixedGame(8, seed=5)
    assert off(estimate(played(design(8), 6000, game)).values, game.shapley()) < bound


def test_size_effects_and_even_effects_cost_nothing__identity_control():
    def crowd(masks):
        size = np.asarray(masks, dtype=np.float64).sum(axis=1)
        return additive(masks) + (size - 3.5) ** 2 + 0.3 * (size - 3.5) ** 3

    shares = estimate_paired(played(PairedDesign(7), 6 + 60, crowd))
    gain = np.ptp(crowd(np.array([[0] * 7, [1] * 7])))
    assert np.abs(shares.values - (ADDITIVE - ADDITIVE.mean() + gain / 7)).max() < 1e-8


@pytest.mark.parametrize(("estimate", "design"), [
    (estimate_paired, PairedDesign(6)),
    (estimate_permutation, PermutationDesign(6)),
    (estimate_exact, EnumerationDesign(6, replicates=2)),
    (estimate_kernel_shap, KernelShapDesign(6)),
])  # fmt: skip
def test_shares_add_up_to_the_gain__identity_efficiency(estimate, design):
    shares = estimate(played(design, 128, MixedGame(6), noise=1.0))
    assert np.isclose(shares.values.sum(), shares.anchors.gain, rtol=1e-10)
    assert np.isclose(shares.centers.sum(), shares.anchors.gain, rtol=1e-10)


def test_the_order_of_finishing_changes_no_bit__identity_order():
    table = played(PairedDesign(6), 80, MixedGame(6), noise=0.5)
    order = np.random.default_rng(0).permutation(80)
    twice = np.concatenate([order, order[:9]])  # a run merged from two sites counts once
    shuffled = table.at(twice)
    assert estimate_paired(table).to_dict() == estimate_paired(shuffled).to_dict()


def test_renaming_contributors_renames_shares__identity_symmetry():
    table = played(PairedDesign(6), 80, MixedGame(6), noise=0.5)
    order = np.array([3, 1, 5, 0, 2, 4])
    renamed = estimate_paired(RunTable(table.masks[:, order], table.values, table.seeds))
    shares = estimate_paired(table)
    assert np.allclose(renamed.centers, shares.centers[order], rtol=1e-9)
    assert np.allclose(renamed.errors, shares.errors[order], rtol=1e-9)
    assert np.allclose(renamed.values, shares.values[order], rtol=1e-9)


def test_without_shrinkage_two_properties_add__identity_linearity():
    one = played(PairedDesign(6), 80, MixedGame(6), noise=0.5)
    two = one._replace(values=played(PairedDesign(6), 80, additive6, noise=0.1, seed=7).values)
    both = one._replace(values=2 * one.values - two.values)
    mixed = 2 * estimate_paired(one).centers - estimate_paired(two).centers
    assert np.allclose(estimate_paired(both).centers, mixed, atol=1e-10)


def additive6(masks):
    return np.asarray(masks, dtype=np.float64) @ ADDITIVE[:6]


def test_paired_centers_are_weighted_least_squares__naive_loop():
    from wherefrom.credit.estimators.paired import pair_rows
    from wherefrom.credit.estimators.regression import size_features, sum_zero_basis

    table = played(PairedDesign(6), 6 + 60, MixedGame(6), noise=0.5)
    anchors, pairs = anchors_of(table), pairs_of(table)
    rows = pair_rows(pairs, anchors)
    X = np.concatenate([rows.members, size_features(rows.sizes, 6)], axis=1)
    inverse = np.linalg.inv((X * rows.weights[:, None]).T @ X)
    b = inverse @ (X * rows.weights[:, None]).T @ rows.differences
    shares = estimate_paired(table)
    assert np.allclose(sum_zero_basis(6) @ b[:5] + anchors.gain / 6, shares.centers)
    # HC3, row by row, from its definition: the residual of each pair when it is left out.
    meat = np.zeros((7, 7))
    for j in range(len(X)):
        rest = np.delete(np.arange(len(X)), j)
        left = np.linalg.solve(
            (X[rest] * rows.weights[rest, None]).T @ X[rest],
            (X[rest] * rows.weights[rest, None]).T @ rows.differences[rest],
        )
        out = rows.weights[j] * X[j] * (rows.differences[j] - X[j] @ left)
        meat += np.outer(out, out)
    covariance = sum_zero_basis(6) @ (inverse @ meat @ inverse)[:5, :5] @ sum_zero_basis(6).T
    errors = np.sqrt(np.diag(covariance) + anchors.variance / 36)
    assert np.allclose(errors, shares.errors)
    # The gain's part of the variance has 2 degrees of freedom, and counts threefold there.
    gain = np.full(6, anchors.variance / 36)
    rest = np.diag(covariance)
    degrees = (rest + 3 * gain) ** 2 / (rest**2 / (len(X) - 7) + 9 * gain**2 / 2)
    reach = t.ppf(1 - 0.05 / 12, degrees) * errors
    assert np.allclose(shares.high - shares.centers, reach)


def test_ridge_is_that_of_largest_likelihood__naive_loop():
    draw = np.random.default_rng(3)
    X, truth = draw.normal(size=(30, 6)), draw.normal(size=6)
    y = X @ truth + 2 * draw.normal(size=30)
    fit = fit_pairs(X, y, np.ones(30))

    def loss(relative):
        ridge = relative * np.linalg.eigvalsh(X.T @ X).mean()
        cover = np.eye(30) + X @ X.T / ridge
        return 30 * np.log(y @ np.linalg.solve(cover, y)) + np.linalg.slogdet(cover)[1]

    grid = np.logspace(-10, 4, 141)
    ridge = grid[np.argmin([loss(r) for r in grid])] * np.linalg.eigvalsh(X.T @ X).mean()
    assert np.allclose(fit.shrunk, np.linalg.solve(X.T @ X + ridge * np.eye(6), X.T @ y))
    assert np.linalg.norm(fit.shrunk) < np.linalg.norm(fit.plain)


def test_pure_noise_is_shared_equally_and_not_resolved__limit():
    table = played(PairedDesign(8), 6 + 60, lambda masks: np.zeros(len(masks)), noise=1.0, seed=2)
    shares = estimate_paired(table)
    assert shares.shrinkage > 0.7
    assert not shares.resolved.any()
    assert (shares.rank_low == 1).all()
    assert (shares.rank_high == 8).all()


@pytest.mark.parametrize("runs", [40, 80])
def test_intervals_cover_all_shares_at_once__limit(runs):
    game = MixedGame(6, seed=3)
    rounds, truth = 120, game.shapley()
    hits = ranked = 0
    for seed in range(rounds):
        table = played(PairedDesign(6, seed=seed), 6 + runs, game, noise=1.0, seed=seed)
        shares = estimate_paired(table)
        hits += bool(((shares.low <= truth) & (truth <= shares.high)).all())
        rank = 1 + (truth[None] > truth[:, None]).sum(axis=1)
        ranked += bool(((shares.rank_low <= rank) & (rank <= shares.rank_high)).all())
    # 0.95 less three standard errors of 120 draws.
    assert hits / rounds > 0.95 - 3 * (0.95 * 0.05 / rounds) ** 0.5
    assert ranked / rounds > 0.95 - 3 * (0.95 * 0.05 / rounds) ** 0.5


def test_exact_intervals_cover__limit():
    game, hits = MixedGame(4, seed=1), 0
    for seed in range(150):
        table = played(EnumerationDesign(4, replicates=2), 32, game, noise=1.0, seed=seed)
        shares = estimate_exact(table, level=0.8)
        hits += bool(((shares.low <= game.shapley()) & (game.shapley() <= shares.high)).all())
    assert 0.8 - 0.1 < hits / 150 < 0.95  # Bonferroni is a little wide


def test_more_anchors_do_not_stand_for_the_noise_of_all_runs__identity_intervals():
    game = MixedGame(5)
    once = estimate_exact(played(EnumerationDesign(5), 32, game, noise=0.3))
    quiet = played(EnumerationDesign(5), 32, game, noise=0.3)
    seeds = np.append(quiet.seeds, [1, 1, 2, 2])  # a set without data may train on nothing
    masks = np.concatenate([quiet.masks, quiet.masks[[0, 1, 0, 1]]])
    values = np.append(quiet.values, quiet.values[[0, 1, 0, 1]])
    more = estimate_exact(RunTable(masks, values, seeds))
    assert more.freedom == once.freedom
    assert (more.errors > 0.8 * once.errors).all()


def test_exact_of_single_runs_says_so__limit():
    shares = estimate_exact(played(EnumerationDesign(5), 32, MixedGame(5), noise=0.3))
    assert "once" in shares.notes[0]
    assert np.isfinite(shares.low).all()


@pytest.mark.parametrize("uniform", [True, False])
def test_banzhaf_regression_comes_to_banzhaf__limit(uniform):
    game = MixedGame(5, seed=5)
    table = played((UniformDesign if uniform else PairedDesign)(5), 4000, game)
    keep = table.masks.sum(axis=1) != 2  # not complete, so not enumerated; symmetric loss
    keep &= table.masks.sum(axis=1) != 3
    full = estimate_banzhaf(table).values
    assert np.abs(full - banzhaf_value(game(all_subsets(5)))).max() < 1e-10
    from wherefrom.credit.estimators.marginal import _banzhaf_regression

    found, _, freedom = _banzhaf_regression(table)
    assert np.abs(found - full).max() < 0.03
    assert freedom > 1000
    assert keep.sum() < len(keep)


def test_the_design_of_banzhaf_runs_does_not_matter__limit():
    """The same bias, none, whether sizes were drawn by the one law or by the other."""
    game = MixedGame(10, seed=2, crowd=3.0)
    truth = banzhaf_value(game(all_subsets(10)))
    for design in (UniformDesign, PairedDesign):
        table = played(design(10), 900, game, noise=0.3)
        shares = estimate_banzhaf(table)
        assert ((shares.low <= truth) & (truth <= shares.high)).all()
        assert (shares.high - shares.low).mean() < 0.2 * np.ptp(truth)


@pytest.mark.parametrize(("design", "runs"), [(EnumerationDesign(8), 256), (PairedDesign(8), 206)])
def test_the_variance_of_one_run__closed_form(design, runs):
    """Weights of sizes do not change it: an additive game has nothing but the noise left."""
    variances = []
    for seed in range(80):
        noisy = played(design, runs, lambda m: m.sum(axis=1), noise=2.0, seed=seed)
        variances.append(run_variance(pairs_of(noisy), anchors_of(noisy))[0])
    # 80 estimates of about 100 degrees of freedom: one standard error is 1.6 %.
    assert np.mean(variances) == pytest.approx(4.0, rel=0.05)


def test_anchors_of_two_noises__closed_form():
    """Neither set stands for the other: the empty one may have no noise at all."""
    masks = np.repeat([[False] * 3, [True] * 3], [2, 4], axis=0)
    values = np.array([1.0, 1.0, 4.0, 6.0, 5.0, 5.0])
    anchors = anchors_of(RunTable(masks, values, np.arange(6)))
    assert (anchors.gain, anchors.freedom) == (4.0, 1)
    assert anchors.variance == pytest.approx(np.var([4, 6, 5, 5], ddof=1) / 4)
    once = anchors_of(RunTable(masks[1:], values[1:], np.arange(5)))
    assert once.freedom == 0 and np.isnan(once.variance) and np.isinf(once.reach(0.95))


def test_few_orders_have_no_intervals__limit():
    game = MixedGame(6)
    few, more = (
        estimate_permutation(played(PermutationDesign(6), 6 + 10 * orders, game, noise=0.1))
        for orders in (7, 8)
    )
    assert np.isinf(few.high).all() and few.notes == ("7 orders of joining; intervals need 8",)
    assert np.isfinite(more.high).all() and not more.notes


def test_no_gain_in_orders_varies_less_than_the_mean__naive_loop():
    """A contributor who stands in like places in each of few orders has a variance of its own."""
    table = played(PermutationDesign(5), 6 + 8 * 8, MixedGame(5, crowd=3.0), noise=0.1)
    gains = np.array(orders_of(table, anchors_of(table)))
    own = gains.var(axis=0, ddof=1)
    expected = np.maximum(own, own.mean()) / 8 + anchors_of(table).variance / 25
    assert np.allclose(estimate_permutation(table).errors ** 2, expected)
    assert (own < own.mean()).any()


def test_mixed_freedom_lies_between__limit():
    total = np.ones(3)
    freedoms = mixed_freedom(total, np.array([0.0, 0.5, 1.0]), 100, 2)
    assert freedoms[[0, 2]] == pytest.approx([100, 2]) and 2 < freedoms[1] < 100


def test_leave_one_out__closed_form():
    game = MixedGame(5, seed=5)
    shares = estimate_leave_one_out(played(LeaveOneOutDesign(5), 21, game))
    full = game(np.ones((1, 5)))
    assert np.allclose(shares.values, full - game(1 - np.eye(5)))
    assert np.allclose(shares.errors, 0)


def test_leave_one_out_errors__closed_form():
    table = played(LeaveOneOutDesign(4, replicates=4), 24, additive4, noise=1.0)
    shares = estimate_leave_one_out(table)
    groups = [table.values[(table.masks == row).all(axis=1)] for row in [np.ones(4, bool),
              *(~np.eye(4, dtype=bool))]]  # fmt: skip
    pooled = np.mean([group.var(ddof=1) for group in groups])
    assert np.allclose(shares.errors, (pooled / 2) ** 0.5)


def additive4(masks):
    return np.asarray(masks, dtype=np.float64) @ ADDITIVE[:4]


def test_owen_by_orders__limit():
    game, groups = MixedGame(6, seed=1), [4, 4, 9, 9, 9, 2]
    found = estimate_owen(played(PermutationDesign(6, groups=tuple(groups)), 3000, game), groups)
    truth = owen_value(game(all_subsets(6)), np.array(groups))
    assert np.abs(found.players.values - truth).max() < 5 * found.players.errors.max()
    assert np.abs(found.players.values - truth).max() < 0.15
    merged = merge_runs(played(EnumerationDesign(6), 64, game), groups)
    between = estimate_exact(merged).values  # the game between unions
    assert np.allclose([truth[:2].sum(), truth[2:5].sum(), truth[5]], between)
    assert np.allclose(found.unions.values, between, atol=0.15)


def test_the_gain_of_unions_of_unlike_sizes__closed_form():
    """The noise of the gain goes to who joins first: to each union alike."""
    groups = [0, 0, 0, 1, 2, 2]
    table = played(PermutationDesign(6, groups=tuple(groups)), 6 + 10 * 12, additive6)
    table.values[:6] += np.repeat([[0.0, 1.0]], 3, axis=0).ravel() * [0, 3, 0, -3, 0, 0]
    shares = estimate_owen(table, groups)
    assert np.allclose(shares.players.portions, [1 / 9] * 3 + [1 / 3] + [1 / 6] * 2)
    assert np.allclose(shares.unions.portions, 1 / 3)
    gains = np.array(orders_of(table, anchors_of(table)))
    pull = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    least = (gains @ pull.T).var(axis=0, ddof=1) / 12 + anchors_of(table).variance / 9
    assert (shares.unions.errors**2 > least - 1e-12).all()


def test_owen_of_other_runs__rejects_design():
    with pytest.raises(InputError, match="cut several unions"):
        estimate_owen(played(PermutationDesign(6), 40, MixedGame(6)), [0, 0, 1, 1, 2, 2])


def test_group_sums_have_the_variance_of_sums__closed_form():
    shares = estimate_paired(played(PairedDesign(6), 66, MixedGame(6), noise=0.5))
    sums = group_sums(shares, [0, 1, 0, 1, 1, 0])
    pull = np.array([1, 0, 1, 0, 0, 1.0])
    assert np.isclose(sums.values[0], shares.values @ pull)
    assert np.isclose(sums.errors[0] ** 2, pull @ shares.covariance @ pull)


def merge_runs(table, groups):
    """The game between groups: only the runs in which each is all in or all out."""
    order = list(dict.fromkeys(groups))
    place = np.array([order.index(group) for group in groups])
    pull = place == np.arange(place.max() + 1)[:, None]
    inside = table.masks.astype(int) @ pull.T
    whole = ((inside == 0) | (inside == pull.sum(axis=1))).all(axis=1)
    return RunTable(inside[whole] > 0, table.values[whole], table.seeds[whole])


def test_ward_groups_of_many_are_those_of_some_and_the_nearest__identity_blobs(monkeypatch):
    monkeypatch.setattr("wherefrom.credit.estimators.owen.MAX_WARD", 40)
    features = np.random.default_rng(0).normal(size=(1000, 3)) + 50 * (np.arange(1000) % 7)[:, None]
    assert ward_groups(features, 7).tolist() == (np.arange(1000) % 7).tolist()
    assert len(set(ward_groups(features, 60).tolist())) == 60


def test_ward_groups_find_blobs__closed_form():
    features = np.array([[0.0], [10.0], [0.1], [10.2], [50.0]])
    assert ward_groups(features, 3).tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("shape", [(2, 5), (6, 4), (50, 200)])
def test_tukey_quantile__reference_scipy(shape):
    theirs = studentized_range.ppf(0.95, *shape) / 2**0.5
    assert np.isclose(tukey(*shape, 0.95), theirs, rtol=1e-4)


@pytest.mark.slow  # shap and shapiq compile themselves when they are imported
def test_kernel_shap_of_the_paper__reference_shap():
    shap = pytest.importorskip("shap")
    game = MixedGame(6, seed=2)
    explainer = shap.KernelExplainer(game, np.zeros((1, 6)), silent=True)
    theirs = explainer.shap_values(np.ones((1, 6)), nsamples=200, l1_reg=False)[0]
    ours = estimate_exact(played(EnumerationDesign(6), 64, game)).values
    assert np.allclose(theirs, ours, atol=1e-8)
    many = estimate_kernel_shap(played(KernelShapDesign(6), 20000, game)).values
    assert off(many, theirs) < 0.06


def test_too_few_runs_are_refused_unless_shrinkage_is_accepted__rejects_budget():
    table = played(PairedDesign(20), 6 + 36, MixedGame(20))
    with pytest.raises(InputError, match="at least 38 runs in complete pairs, and there are 36"):
        estimate_paired(table)
    shares = estimate_paired(table, accept_shrinkage=True)
    assert np.isclose(shares.values.sum(), shares.anchors.gain)
    assert np.isinf(shares.high).all()
    assert not shares.resolved.any()
    assert shares.to_dict()["low"] == [None] * 20


def test_pairs_that_wait_are_left_out_and_counted__identity_pairs():
    table = played(PairedDesign(6), 6 + 41, MixedGame(6))
    shares = estimate_paired(table)
    assert shares.notes == ("1 runs wait for their complement",)
    whole = estimate_paired(table.at(range(46)))
    assert whole.values.tolist() == shares.values.tolist()


def test_no_anchor__rejects_runs():
    table = played(PairedDesign(6), 60, MixedGame(6))
    for size, what in ((0, "no contributor"), (6, "all contributors")):
        keep = table.masks.sum(axis=1) != size
        with pytest.raises(InputError, match=f"no finished run with {what}"):
            estimate_paired(table.at(keep))


@pytest.mark.parametrize("estimate", [estimate_paired, estimate_exact, estimate_leave_one_out])
def test_a_value_that_is_no_number__rejects_nan(estimate):
    table = played(PairedDesign(4), 30, MixedGame(4))
    table.values[3] = np.nan
    with pytest.raises(InputError, match="1 runs have no finite value"):
        estimate(table)


@pytest.mark.parametrize(("estimate", "say"), [
    (estimate_exact, "each of the 2\\^6 subsets"),
    (estimate_permutation, "no order of joining is complete"),
    (estimate_leave_one_out, "lacks the runs without contributor"),
])  # fmt: skip
def test_runs_of_another_design__rejects_design(estimate, say):
    with pytest.raises(InputError, match=say):
        estimate(played(PairedDesign(6), 20, MixedGame(6)))


def test_a_level_that_is_none__rejects_level():
    with pytest.raises(InputError, match="level is 95"):
        estimate_paired(played(PairedDesign(4), 40, MixedGame(4)), level=95)
