"""Conformal p-values: exact counts, ties against the claim, validity, honest refusals."""

import math

import pytest
import torch
from scipy.stats import binom

from wherefrom.calibration.conformal import (
    ROUNDING,
    lower_p_values,
    needed_samples,
    require_rate,
    threshold_at_rate,
    tie_width,
    upper_p_values,
)
from wherefrom.core.errors import InputError

RATES = (0.005, 0.01, 1 / 49, 0.05, 0.07, 0.29, 0.5, 0.999)


def test_p_values_of_four_scores__closed_form():
    calibration = torch.tensor([3.0, 1.0, 2.0, 4.0])
    scores = torch.tensor([0.0, 1.5, 4.5])
    upper, lower = upper_p_values(scores, calibration), lower_p_values(scores, calibration)
    assert upper.tolist() == [1.0, 4 / 5, 1 / 5]
    assert lower.tolist() == [1 / 5, 2 / 5, 1.0]
    assert upper.dtype == lower.dtype == torch.float64


def test_ties_count_against_the_claim__closed_form():
    calibration = torch.tensor([1.0, 2.0, 2.0, 3.0])
    assert upper_p_values(torch.tensor([2.0]), calibration).item() == 4 / 5
    assert lower_p_values(torch.tensor([2.0]), calibration).item() == 4 / 5


def test_p_values_count_one_by_one__naive_loop():
    calibration = torch.randint(0, 20, (57,)).double()
    scores = torch.randint(-2, 23, (40,)).double()
    upper = [(1 + sum(c >= s for c in calibration.tolist())) / 58 for s in scores.tolist()]
    lower = [(1 + sum(c <= s for c in calibration.tolist())) / 58 for s in scores.tolist()]
    assert upper_p_values(scores, calibration).tolist() == upper
    assert lower_p_values(scores, calibration).tolist() == lower


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("extra", [0, 1, 7])
@pytest.mark.parametrize("levels", [6, 10**6])
def test_a_score_is_above_the_threshold_exactly_if_its_p_value_is_within__identity_threshold(
    rate, extra, levels
):
    count = needed_samples(rate, what="rate") + extra
    calibration = torch.randint(0, levels, (count,)).double()
    scores = torch.cat([calibration, calibration + 0.5, calibration - 0.5])
    rejected = scores > threshold_at_rate(calibration, rate)
    assert torch.equal(rejected, upper_p_values(scores, calibration) <= rate)


def test_threshold_is_the_corrected_quantile__closed_form():
    """Deviation: the paper takes the plain quantile; ours is the ceil((n + 1)(1 - rate))-th."""
    calibration = torch.arange(1.0, 100.0)[torch.randperm(99)].double()
    expected = math.ceil(100 * 0.95) + tie_width(calibration)
    assert threshold_at_rate(calibration, 0.05) == expected
    assert threshold_at_rate(calibration, 0.05) > torch.quantile(calibration, 0.95)
    assert threshold_at_rate(calibration, 0.01) == 99 + tie_width(calibration)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_error_rate_of_new_own_scores_is_the_nominal_one__reference_scipy(rate):
    """With (n + 1) rate whole, each fresh score is rejected with probability exactly `rate`.

    Deviation: on the same draws the paper's plain quantile rejects more than it promises.
    """
    trials = 4000
    drawn = torch.randn(trials, 20, dtype=torch.float64)
    held, fresh = drawn[:, :19], drawn[:, 19]
    thresholds = torch.tensor([threshold_at_rate(row, rate) for row in held], dtype=torch.float64)
    low, high = binom.interval(0.9999, trials, rate)
    assert low <= int((fresh > thresholds).sum()) <= high
    assert int((fresh > torch.quantile(held, 1 - rate, dim=1)).sum()) > high


@pytest.mark.parametrize("rate", RATES)
def test_the_number_asked_for_is_the_smallest_that_is_accepted__limit(rate):
    needed = needed_samples(rate, what="rate")
    require_rate(rate, needed, what="rate")
    assert 1 / (needed + 1) <= rate
    if needed > 1:
        assert 1 / needed > rate
        with pytest.raises(InputError, match=f"use at least {needed} samples"):
            require_rate(rate, needed - 1, what="rate")


@pytest.mark.parametrize("count", [1, 19, 48, 60, 999])
def test_the_rate_advised_is_accepted__identity_advice(count):
    with pytest.raises(InputError, match=f"a rate of at least 1/{count + 1}$"):
        require_rate(0.9 / (count + 1), count, what="false-negative rate")
    require_rate(1 / (count + 1), count, what="false-negative rate")


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_rates_outside_zero_and_one__rejects_rates(rate):
    with pytest.raises(InputError, match=r"the false-positive rate is .* strictly between 0 and 1"):
        require_rate(rate, 1000, what="false-positive rate")


def test_too_small_a_calibration_set__rejects_and_says_how_many():
    with pytest.raises(InputError, match=r"rate of 0\.005 .* 100 held-out .* at least 199 samples"):
        threshold_at_rate(torch.zeros(100), 0.005)


@pytest.mark.parametrize("p_values", [upper_p_values, lower_p_values])
def test_rounding_of_another_processor_changes_no_p_value__identity_ties(p_values):
    calibration = 50 + 0.1 * torch.randperm(199).double()
    for noise in (1e-6, 1e-5):
        moved = calibration * (1 + noise * torch.randn(199).clamp(-1, 1))
        assert torch.equal(p_values(moved, calibration), p_values(calibration, calibration))
    exact = (1 + (calibration >= calibration[:, None]).sum(dim=1)).double() / 200
    assert torch.equal(upper_p_values(calibration, calibration), exact)


def test_ties_only_raise_p_values__limit():
    """The rate that a p-value promises cannot suffer from them."""
    calibration = torch.randn(99).double() * 1e-5 + 1
    scores = torch.randn(500).double() * 1e-5 + 1
    plain = torch.stack([(1 + (calibration >= s).sum()).double() / 100 for s in scores])
    tied = upper_p_values(scores, calibration)
    assert bool((tied >= plain).all()) and not torch.equal(tied, plain)


def test_width_of_a_tie_follows_the_size_of_the_scores__closed_form():
    scores = torch.tensor([*range(1, 11), math.inf, -math.inf, math.nan]).double()
    assert tie_width(scores) == tie_width(-scores) == 9 * ROUNDING
    assert tie_width(1000 * scores) == 9000 * ROUNDING
    assert tie_width(torch.zeros(5)) == tie_width(torch.empty(0)) == 0


@pytest.mark.parametrize("p_values", [upper_p_values, lower_p_values])
def test_a_score_that_is_nan_is_no_evidence__closed_form(p_values):
    """It would sort above every number, and so have the smallest p-value there is."""
    scores = torch.tensor([0.5, torch.nan, 2.0], dtype=torch.float64)
    calibration = torch.linspace(0, 1, 9, dtype=torch.float64)
    values = p_values(scores, calibration)
    assert values[1] == 1
    assert values[::2].tolist() == p_values(scores[::2], calibration).tolist()
