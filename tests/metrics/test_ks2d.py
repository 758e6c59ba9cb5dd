"""The two-dimensional KS distance and what is inferred from it."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from wherefrom.core.errors import InputError
from wherefrom.metrics import ks2d
from wherefrom.metrics.ks2d import Plane, ks2d_distance
from wherefrom.metrics.ks2d_inference import (
    distance_at,
    distances_without_difference,
    equal_distance_p_value,
    interval,
    permutation_test,
)

EXACT = 1e-12


def drawn(count, seed, shift=(0.0, 0.0)):
    """Correlated normal points, (count, 2)."""
    z = np.random.default_rng(seed).normal(size=(count, 2))
    return np.stack([z[:, 0], 0.6 * z[:, 0] + 0.8 * z[:, 1]], axis=1) + np.array(shift)


def quadrant_counts(points, x0, y0):
    left, under = points[:, 0] <= x0, points[:, 1] <= y0
    both = ((left & under), (left & ~under), (~left & under), (~left & ~under))
    return [int(inside.sum()) for inside in both]


def one_sided(origins, other):
    """D1 from the definition: each point an origin, and in the quadrant that widens the gap."""
    widest = 0.0
    for x0, y0 in origins:
        mine, theirs = quadrant_counts(origins, x0, y0), quadrant_counts(other, x0, y0)
        mine[0] -= 1
        for own, rest in zip(mine, theirs, strict=True):
            share = rest / len(other)
            widest = max(widest, share - own / len(origins), (own + 1) / len(origins) - share)
    return widest


def plain(first, second):
    return (one_sided(first, second) + one_sided(second, first)) / 2


@pytest.mark.parametrize("kind", ["continuous", "ties", "duplicates", "one column constant"])
def test_distance_is_that_of_the_quadrants__naive_loop(kind):
    rng = np.random.default_rng(3)
    for _ in range(30):
        n1, n2 = rng.integers(1, 50, 2)
        first, second = rng.normal(size=(n1, 2)), rng.normal(size=(n2, 2)) + 0.3
        if kind == "ties":
            first, second = np.round(2 * first), np.round(2 * second)
        if kind == "duplicates":
            first[: n1 // 2], second[: n2 // 2] = first[-1], first[-1]
        if kind == "one column constant":
            first[:, 1] = second[:, 1] = 5.0
        assert ks2d_distance(first, second) == pytest.approx(plain(first, second), abs=EXACT)


def test_distance_of_larger_samples_of_other_sizes__naive_loop():
    first, second = drawn(300, 1), drawn(211, 2, (0.2, 0.0))
    assert ks2d_distance(first, second) == pytest.approx(plain(first, second), abs=EXACT)


def test_on_a_line_it_is_the_one_dimensional_distance__reference_scipy():
    """With y = x two quadrants are empty; the own point adds at most one step of either sample."""
    a, b = np.random.default_rng(0).normal(size=300), np.random.default_rng(1).normal(size=200) + 1
    flat = ks_2samp(a, b).statistic
    result = ks2d_distance(np.stack([a, a], axis=1), np.stack([b, b], axis=1))
    assert flat - EXACT <= result <= flat + (1 / 300 + 1 / 200) / 2 + EXACT


def test_samples_apart_and_equal__closed_form():
    low, high = drawn(40, 0), drawn(30, 1) + 100
    assert ks2d_distance(low, high) == pytest.approx(1.0, abs=EXACT)
    points = drawn(40, 0)
    assert ks2d_distance(points, points) == pytest.approx(1 / 40, abs=EXACT)  # the own point


def test_only_ranks_count__identity_monotone_maps():
    first, second = drawn(80, 4), drawn(60, 5, (0.5, 0.0))
    stretched = [np.stack([np.exp(s[:, 0]), s[:, 1] ** 3], axis=1) for s in (first, second)]
    assert ks2d_distance(*stretched) == ks2d_distance(first, second)
    assert ks2d_distance(second, first) == ks2d_distance(first, second)


def test_multiplicities_are_repeated_points__identity_resample():
    points, rng = np.round(drawn(30, 6), 1), np.random.default_rng(7)
    first, second = rng.multinomial(25, [1 / 30] * 30, 4), rng.multinomial(40, [1 / 30] * 30, 4)
    result = Plane(points).distances(first, second)
    for row, a, b in zip(result, first, second, strict=True):
        repeated = np.repeat(points, a, axis=0), np.repeat(points, b, axis=0)
        assert row == pytest.approx(plain(*repeated), abs=EXACT)


def test_rows_at_a_time_do_not_matter__identity_chunks(monkeypatch):
    first, second = drawn(50, 8), drawn(50, 9)
    whole = permutation_test(first, second, draws=40)
    monkeypatch.setattr(ks2d, "CACHE", 1)
    assert permutation_test(first, second, draws=40) == whole


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 3)), "shape (3, 3)"),
        (np.zeros((0, 2)), "shape (0, 2)"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), "point 1 of the second sample"),
    ],
)
def test_samples_that_are_none__rejects_shapes_and_nan(bad, message):
    with pytest.raises(InputError) as caught:
        ks2d_distance(drawn(5, 0), bad)
    assert message in str(caught.value)


def test_p_values_without_difference_are_uniform__limit():
    """300 null draws: the share below 0.1 has a standard error of 0.017."""
    result = [
        permutation_test(drawn(20, 2 * i), drawn(25, 2 * i + 1), draws=49, seed=i).p_value
        for i in range(300)
    ]
    assert np.mean(np.array(result) <= 0.1) == pytest.approx(0.1, abs=0.055)
    assert np.mean(np.array(result) <= 0.5) == pytest.approx(0.5, abs=0.09)


def test_p_value_counts_permutations__closed_form():
    """Two points against two far away: of 6 splits 2 are as far apart, so p is about 1/3."""
    first, second = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[9.0, 9.0], [8.0, 8.0]])
    result = permutation_test(first, second, draws=2000)
    assert result.distance == 1.0
    assert result.p_value == pytest.approx(1 / 3, abs=0.05)
    assert permutation_test(first, second, draws=2000) == result


def test_level_of_no_difference_is_that_of_fresh_samples__limit():
    fresh = [ks2d_distance(drawn(120, 2 * i), drawn(60, 2 * i + 1)) for i in range(150)]
    result = distances_without_difference(drawn(120, 999), 120, 60, draws=150)
    assert result.mean() == pytest.approx(np.mean(fresh), rel=0.08)


def test_interval_covers_the_mean_distance__limit():
    """95 % asked for; 60 trials have a standard error of 3 %."""
    shift = (0.5, 0.0)
    fresh = [ks2d_distance(drawn(80, 2 * i), drawn(80, 2 * i + 1, shift)) for i in range(100)]
    hits, offsets = 0, []
    for i in range(60):
        first, second = drawn(80, 5000 + i), drawn(80, 6000 + i, shift)
        low, high = interval(first, second, draws=99, seed=i)
        hits += low <= np.mean(fresh) <= high
        offsets.append((low + high) / 2 - ks2d_distance(first, second))
    assert hits / 60 >= 0.83
    # Resampled D are larger than D; the interval must not move up with them.
    assert abs(np.mean(offsets)) < 0.01
    low, high = interval(first, second, draws=99)
    narrow = interval(first, second, level=0.5, draws=99)
    assert low < narrow[0] < narrow[1] < high


def test_subsets_make_sizes_comparable__limit():
    real, large, small = drawn(200, 1), drawn(400, 2, (0.4, 0)), drawn(50, 3, (0.4, 0))
    at_fifty = distance_at(real, large, 50)
    fresh = [ks2d_distance(real, drawn(50, 100 + i, (0.4, 0))) for i in range(60)]
    assert at_fifty == pytest.approx(np.mean(fresh), abs=0.05)
    assert at_fifty > ks2d_distance(real, large)
    assert distance_at(real, small, 50) == ks2d_distance(real, small)


def test_generators_that_differ_and_that_do_not__limit():
    real = drawn(120, 0)
    near, far = drawn(120, 1, (0.2, 0)), drawn(90, 2, (1.2, 0))
    assert equal_distance_p_value(real, near, far, draws=99) <= 0.02
    alike = [
        equal_distance_p_value(
            drawn(60, 3 * i), drawn(60, 3 * i + 1, (0.5, 0)), drawn(60, 3 * i + 2, (0, -0.5)),
            draws=49, seed=i,
        )
        for i in range(60)
    ]  # fmt: skip
    assert np.mean(np.array(alike) <= 0.05) <= 0.15
    assert 0.33 <= np.mean(np.array(alike) <= 0.5) <= 0.75


def test_draws_are_named_by_the_seed__identity_seed():
    first, second = drawn(30, 1), drawn(30, 2)
    assert interval(first, second, draws=30, seed=1) == interval(first, second, draws=30, seed=1)
    assert interval(first, second, draws=30, seed=1) != interval(first, second, draws=30, seed=2)


def test_impossible_requests__rejects_counts():
    first, second = drawn(10, 1), drawn(10, 2)
    with pytest.raises(InputError, match="subset of 11"):
        distance_at(first, second, 11)
    with pytest.raises(InputError, match="at least 1"):
        permutation_test(first, second, draws=0)
    with pytest.raises(InputError, match="strictly between"):
        interval(first, second, level=1.0)


def test_sums_that_would_not_be_exact__rejects_sizes(monkeypatch):
    monkeypatch.setattr(ks2d, "EXACT", 50)
    with pytest.raises(InputError, match="too many for exact sums"):
        ks2d_distance(drawn(10, 1), drawn(10, 2))
