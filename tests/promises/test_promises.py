"""What holds for every stated rate; the rates themselves are tested package by package."""

from dataclasses import replace

import numpy as np
import pytest
from promise import broken, realised
from promises import PROMISES


def test_names_are_unique_and_nothing_is_left_unsaid__closed_form():
    assert len({promise.name for promise in PROMISES}) == len(PROMISES)
    for promise in PROMISES:
        assert 0 < promise.rate < 1
        assert promise.statement and promise.assumption and promise.code


def test_a_rate_that_is_too_high_is_found__closed_form():
    """60 replays: 0.05 promised and 0.3 realised is red, 0.08 is not told from chance."""
    promise = PROMISES[0]
    assert promise.rate == 0.05
    assert broken(promise, np.repeat([1.0, 0.0], [18, 42]))
    assert not broken(promise, np.repeat([1.0, 0.0], [5, 55]))
    least = replace(promise, at_least=True, rate=0.95)
    assert broken(least, np.repeat([1.0, 0.0], [42, 18]))
    assert not broken(least, np.repeat([1.0, 0.0], [55, 5]))


def test_intervals_of_what_was_realised__reference_scipy():
    from scipy.stats import binomtest

    values = np.repeat([1.0, 0.0], [7, 93])
    expected = binomtest(7, 100).proportion_ci(0.95)
    found = realised(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert realised(np.zeros(10)).low == 0 and realised(np.ones(10)).high == 1
    shares = np.linspace(0.2, 0.6, 400)
    assert realised(shares).low < 0.4 < realised(shares).high < 0.45
