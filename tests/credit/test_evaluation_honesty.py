"""What an evaluation may not claim: seen subsets, impossible intervals, work that was not told."""

import numpy as np
from synthetic_games import played
from test_players import callable_study, make_runs

from wherefrom.credit.estimators.design import EnumerationDesign, PairedDesign
from wherefrom.credit.evaluation.comparison import _variance, announcement
from wherefrom.credit.evaluation.lds import (
    SubsetsDesign,
    counterfactual_masks,
    lds_difference,
    lds_rows,
    left_out,
    variance_split,
)


def worth(masks):
    return np.asarray(masks, dtype=np.float64) @ np.arange(8.0)


def test_fractions_that_round_to_one_count_are_one_row__closed_form():
    subsets = counterfactual_masks(np.arange(4.0))  # 1 of 4 at 0.2, 2 of 4 at 0.4 and at 0.6
    assert [(kind, count) for kind, count, _ in subsets] == [
        ("remove", 1), ("keep", 1), ("remove", 2), ("keep", 2),
    ]  # fmt: skip


def test_intervals_of_a_correlation_stay_in_its_range__limit():
    design = SubsetsDesign(8, 0.5, subsets=5, replicates=2)
    table = played(design, 10, worth, noise=20.0, seed=3)
    row = lds_rows(table, {"tau": np.arange(8.0)})[0]
    assert -1 <= row.low <= row.lds <= row.high <= 1
    assert row.high - row.low > 1  # two seeds say next to nothing


def test_subsets_that_the_fit_has_seen_are_left_out__identity_held_out():
    held = SubsetsDesign(8, 0.5, subsets=20, replicates=2).take(40)
    fitted = played(PairedDesign(8), 40, worth)
    seen = left_out(held, fitted)
    masks = {run.mask for run in held}
    assert 0 < len(masks & set(seen)) < len(masks)
    table = played(SubsetsDesign(8, 0.5, subsets=20, replicates=2), 40, worth)
    row = lds_rows(table, {"tau": np.arange(8.0)}, only=held, seen=seen)[0]
    assert row.subsets == len(masks - set(seen))
    assert left_out(held, played(EnumerationDesign(8), 256, worth)) == ()  # nothing would be left
    assert set(lds_difference(table, np.arange(8.0), np.arange(8.0), seen=seen)) == {4}


def test_noise_of_images_is_taken_from_that_of_training__closed_form():
    draw = np.random.default_rng(0)
    table = played(SubsetsDesign(8, 0.5, subsets=20, replicates=4), 80, worth)
    noisy = table._replace(values=draw.normal(size=80))
    within = variance_split(noisy).training
    split = _variance(noisy, 0.7 * within)
    assert np.isclose(split.training, 0.3 * within)
    assert split.buy == "images per run"
    assert variance_split(noisy, 9 * within).sampling == within  # what cancels is not noise


def test_the_work_is_told_before_it_starts__closed_form(tmp_path):
    opened = make_runs(callable_study(tmp_path, design="kind = 'exact'", game="told"), 8)
    with opened.ledger() as ledger:
        ledger.plan(SubsetsDesign(3, 0.5, subsets=3, replicates=2).take(6))
    assert announcement([opened], 0) == "6 runs to make, hours not known: no run was timed yet"
    assert "then up to 10 runs" in announcement([opened], 10)
