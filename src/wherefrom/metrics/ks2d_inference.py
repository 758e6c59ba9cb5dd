"""Inference for the two-dimensional KS distance: p-values, its level without difference, intervals.

D grows as samples shrink, whatever they are drawn from, so a D alone says nothing, and two D of
samples of different size cannot be compared.  Nothing here rests on a formula for D's distribution:
labels are permuted and samples are drawn again.

`seed` fixes every draw; the same input and seed give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.metrics.ks2d import Ints, Plane, Reals, ks2d_distance

DRAWS = 999
# The difference of two distances varies up to 1.15 times as much as its resamples do, with 30 to
# 120 images of generators that are equally far; with no widening the test errs at up to 0.09 for
# 0.05 (experiments/promises_anomaly.py).
WIDENING = 1.2
CHUNK = 2**20  # multiplicities drawn at a time


@dataclass(frozen=True)
class PermutationTest:
    """D of two samples, compared with D under permutations of their labels.

    `p_value` = (1 + permutations with a D at least as large) / (1 + permutations): if both samples
    come from one distribution, it is at most p with probability at most p, whatever that is.
    """

    distance: float
    p_value: float
    draws: int


def permutation_test(
    first: Reals, second: Reals, *, draws: int = DRAWS, seed: int = 0, track: Track = quiet
) -> PermutationTest:
    """Test whether (n1, 2) and (n2, 2) come from one distribution; D is the statistic."""
    observed = ks2d_distance(first, second)
    plane, labels = Plane(np.concatenate([first, second])), _labels(len(first), len(second))
    rows = _drawn(draws, plane.count, _permuted(labels), (seed, "permutations"), track)
    null = np.concatenate([plane.distances(1 - chosen, chosen) for chosen in rows])
    return PermutationTest(
        distance=observed,
        p_value=float(1 + np.count_nonzero(null >= observed)) / (1 + draws),
        draws=draws,
    )


def distances_without_difference(
    sample: Reals, n1: int, n2: int, *, draws: int = DRAWS, seed: int = 0, track: Track = quiet
) -> Reals:
    """D between two sets of n1 and n2 points, both resampled from `sample` (n, 2); shape (draws,).

    Both are drawn with replacement, so either may be larger than `sample`.
    """
    plane, size = Plane(sample), len(sample)
    share = np.full(size, 1 / size)

    def both(rng: np.random.Generator, rows: int) -> Ints:
        return np.concatenate(
            [rng.multinomial(n1, share, rows), rng.multinomial(n2, share, rows)], axis=1
        )

    rows = _drawn(draws, 2 * size, both, (seed, "no difference"), track)
    return np.concatenate([plane.distances(pair[:, :size], pair[:, size:]) for pair in rows])


def interval(
    first: Reals,
    second: Reals,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    track: Track = quiet,
) -> tuple[float, float]:
    """The range in which D lies, with probability `level`, for other samples of these sizes.

    The bootstrap: both samples are drawn again from themselves.  Resampled D are larger than D, as
    resampling adds noise of its own; so their spread is taken around their mean, and laid around
    the D that was observed.  The interval is about D at these sizes, not about D at infinity.
    """
    if not 0 < level < 1:
        raise InputError(f"the level is {level}, but it must lie strictly between 0 and 1")
    observed = ks2d_distance(first, second)
    plane, sizes = Plane(np.concatenate([first, second])), (len(first), len(second))
    rows = _drawn(draws, plane.count, _resampled(sizes), (seed, "bootstrap"), track)
    spread = np.concatenate([plane.distances(*_apart(chosen, sizes)) for chosen in rows])
    low, high = np.quantile(spread - spread.mean(), [(1 - level) / 2, (1 + level) / 2])
    return float(max(0.0, observed + low)), float(min(1.0, observed + high))


def distance_at(
    first: Reals, second: Reals, count: int, *, draws: int = 49, seed: int = 0
) -> float:
    """Mean D of `first` against random subsets of `second` of `count` points, for comparisons.

    With `count` = n2 it is D itself.
    """
    if not 1 <= count <= len(second):
        raise InputError(f"a subset of {count} points was asked for, but there are {len(second)}")
    if count == len(second):
        return ks2d_distance(first, second)
    plane, n1 = Plane(np.concatenate([first, second])), len(first)
    keep = _labels(len(second) - count, count)
    distances = []
    for chosen in _drawn(draws, len(second), _permuted(keep), (seed, "subsets"), quiet):
        of_first = np.ones((len(chosen), n1), np.int64)
        both = np.concatenate([of_first, chosen], axis=1)
        distances.append(plane.distances(*_apart(both, (n1, len(second)))))
    return float(np.concatenate(distances).mean())


def equal_distance_p_value(
    real: Reals, a: Reals, b: Reals, *, draws: int = DRAWS, seed: int = 0, track: Track = quiet
) -> float:
    """Two-sided bootstrap test of whether `a` and `b` are equally far from `real`.

    The observed D(real, a) - D(real, b), both at the size of the smaller set, is compared with how
    much that difference varies, around its own mean, when all three samples are drawn again:
    `WIDENING` times as much, as resamples of a largest gap vary too little.
    Permuting the labels of `a` and `b` would be exact if they were one distribution, and says
    "different" far too often for two that are equally far from `real` in different directions; the
    bootstrap is approximate for both.  With the widening it errs at most as often as stated in
    every world that was simulated, and much less often where both are like `real`.
    """
    plane, sizes = Plane(np.concatenate([real, a, b])), (len(real), len(a), len(b))
    smaller = min(len(a), len(b))
    observed = distance_at(real, a, smaller, seed=seed) - distance_at(real, b, smaller, seed=seed)

    differences = []
    for chosen in _drawn(draws, plane.count, _resampled(sizes), (seed, "generators"), track):
        again_real, again_a, again_b = _apart(chosen, sizes)
        to_a, to_b = (plane.distances(again_real, again) for again in (again_a, again_b))
        differences.append(to_a - to_b)
    spread = np.concatenate(differences)
    # Differences of two distances carry rounding; equal ones must count as equal.
    as_large = WIDENING * np.abs(spread - spread.mean()) >= abs(observed) - 1e-12
    return float(1 + np.count_nonzero(as_large)) / (1 + draws)


def _labels(zeros: int, ones: int) -> Ints:
    return np.repeat(np.array([0, 1]), [zeros, ones])


def _permuted(labels: Ints) -> Callable[[np.random.Generator, int], Ints]:
    return lambda rng, rows: rng.permuted(np.tile(labels, (rows, 1)), axis=1)


def _resampled(sizes: tuple[int, ...]) -> Callable[[np.random.Generator, int], Ints]:
    """Each sample drawn again from itself: how often each of its points is taken."""
    return lambda rng, rows: np.concatenate(
        [rng.multinomial(size, np.full(size, 1 / size), rows) for size in sizes], axis=1
    )


def _apart(chosen: Ints, sizes: tuple[int, ...]) -> list[Ints]:
    """The columns of each sample, with zeros for the points of the others."""
    parts, low = [], 0
    for size in sizes:
        part = np.zeros_like(chosen)
        part[:, low : low + size] = chosen[:, low : low + size]
        parts.append(part)
        low += size
    return parts


def _drawn(
    draws: int,
    width: int,
    draw: Callable[[np.random.Generator, int], Ints],
    path: tuple[int, str],
    track: Track,
) -> Iterator[Ints]:
    """`draws` rows in all, some at a time, each from one stream that `path` names."""
    if draws < 1:
        raise InputError(f"{draws} random draws were asked for; give at least 1")
    rng = np.random.default_rng(derive_seed(path[0], "ks2d", path[1]))
    step = max(1, CHUNK // max(1, width))
    starts = range(0, draws, step)
    for start in track(starts, f"random draws ({path[1]})", total=len(starts)):
        yield draw(rng, min(step, draws - start))
