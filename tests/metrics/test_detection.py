"""AUROC, exact intervals and the paper's accuracy."""

import pytest
import torch
from scipy.stats import beta

from wherefrom.metrics.detection import auroc, balanced_accuracy, exact_interval


def test_auroc_counts_pairs_and_half_the_ties__naive_loop():
    own = torch.randint(0, 8, (23,)).double()
    other = torch.randint(3, 12, (31,)).double()
    wins = sum(float(b > a) + 0.5 * float(b == a) for a in own for b in other)
    assert auroc(own, other) == pytest.approx(wins / (23 * 31), abs=1e-12)


def test_auroc_of_separate_and_equal_scores__limit():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0, 4.0])
    assert auroc(low, high) == 1.0
    assert auroc(high, low) == 0.0
    assert auroc(torch.zeros(4), torch.zeros(5)) == 0.5


@pytest.mark.parametrize(("successes", "count"), [(3, 10), (1, 200), (99, 100)])
def test_interval_is_that_of_clopper_and_pearson__reference_beta_quantiles(successes, count):
    low, high = exact_interval(successes, count)
    assert low == pytest.approx(beta.ppf(0.025, successes, count - successes + 1), rel=1e-6)
    assert high == pytest.approx(beta.ppf(0.975, successes + 1, count - successes), rel=1e-6)


def test_interval_without_successes_and_without_failures__closed_form():
    """At the ends one bound is exact and the other solves p^n = alpha / 2."""
    other = 0.05 ** (1 / 20)
    low, high = exact_interval(0, 20, level=0.9)
    assert low == 0.0
    assert high == pytest.approx(1 - other, abs=1e-9)
    low, high = exact_interval(20, 20, level=0.9)
    assert high == 1.0
    assert low == pytest.approx(other, abs=1e-9)


def test_accuracy_is_the_mean_of_kept_and_rejected__closed_form():
    assert balanced_accuracy(0.0, 1.0) == 1.0
    assert balanced_accuracy(1.0, 0.0) == 0.0
    assert balanced_accuracy(0.005, 0.9) == pytest.approx((0.995 + 0.9) / 2)
