"""Many p-values of one calibration set as one: its rate, beside that of a plain chi-square."""

import math

import pytest
import torch
from scipy.stats import binom, chi2

from wherefrom.calibration.combination import combined_p_value
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.rng import stream

RATE = 0.05
REPLAYS = 400
# Bounds of the number of rejections at RATE, each crossed by chance in one of 10,000 runs.
LOW, HIGH = binom.ppf([1e-4, 1 - 1e-4], REPLAYS, RATE)


def replays(groups, shared=False):
    """p-values of own images, per replay one list of (p-values, n): new calibration sets each."""
    for number in range(REPLAYS):
        rng = stream(number, "replay", *groups)
        calibration = torch.randn(max(n for n, _ in groups), generator=rng)
        sets = []
        for n, m in groups:
            if not shared:
                calibration = torch.randn(n, generator=rng)
            p_values = upper_p_values(torch.randn(m, generator=rng), calibration[:n])
            sets.append((p_values.tolist(), n))
        yield sets


def rejections(groups, **options):
    return sum(combined_p_value(sets) <= RATE for sets in replays(groups, **options))


@pytest.mark.parametrize(("n", "m"), [(100, 1), (100, 5), (100, 100), (60, 300)])
def test_own_sets_are_rejected_at_the_promised_rate__closed_form(n, m):
    assert LOW <= rejections([(n, m)]) <= HIGH


def test_a_plain_chi_square_breaks_the_promise_for_large_sets__closed_form():
    """Why the law is simulated."""
    naive = [
        chi2.sf(-2 * sum(map(math.log, p_values)), 2 * len(p_values)) <= RATE
        for ((p_values, _),) in replays([(60, 300)])
    ]
    assert sum(naive) > HIGH


def test_groups_that_share_their_calibration_images_keep_the_rate__closed_form():
    """The same images in two states, as dependent as can be; and independent ones, not above."""
    assert LOW <= rejections([(20, 150), (20, 150)], shared=True) <= HIGH
    assert rejections([(30, 150), (20, 150)]) <= HIGH


def test_one_p_value_is_given_back__identity():
    """For m = 1 the law is that of the p-value itself."""
    error = 4 * math.sqrt(0.1 * 0.9 / 20_000)  # four standard errors of the simulation
    assert combined_p_value([([10 / 100], 99)]) == pytest.approx(10 / 100, abs=error)
    assert combined_p_value([([1.0], 99)]) == 1.0


def test_neither_order_nor_empty_groups_matter__identity():
    one, two = ([0.1, 0.5, 0.02], 99), ([0.3], 49)
    expected = combined_p_value([one, two])
    assert combined_p_value([two, ([], 9), (one[0][::-1], 99)]) == expected


def test_many_slightly_small_p_values_are_one_small_one__limit():
    assert combined_p_value([([0.2] * 4, 199)]) > RATE
    assert combined_p_value([([0.2] * 40, 199)]) < 0.001


@pytest.mark.parametrize("groups", [[], [([], 9)], [([0.0], 9)], [([0.05], 9)], [([0.5], 0)]])
def test_impossible_p_values__rejects_value(groups):
    with pytest.raises(ValueError, match="give"):
        combined_p_value(groups)
