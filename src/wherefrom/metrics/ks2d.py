"""The two-dimensional two-sample Kolmogorov-Smirnov distance, exact in O(n log n).

Peacock: Two-dimensional goodness-of-fit testing in astronomy, MNRAS 1983; Fasano and Franceschini:
A multidimensional version of the Kolmogorov-Smirnov test, MNRAS 1987.

Symbols:
    n1, n2   sizes of the two samples
    f1, f2   shares of a sample in one quadrant around an origin, the quadrants being
             x <= x0, y <= y0;  x <= x0, y > y0;  x > x0, y <= y0;  x > x0, y > y0
    D        the distance, in [0, 1]; larger = the samples differ more

Every point of sample 1 is an origin once.  The origin itself stands on the border of all four
quadrants, so it counts for the quadrant in which it widens the gap:

    D1 = max over origins and quadrants of  max( f2 - f1', f1' + 1 / n1 - f2 )

where f1' leaves the origin out of its sample.  D2 is the same with the samples exchanged, and
D = (D1 + D2) / 2.  Other programs drop the origin, or take the larger of D1 and D2.

All of it is one weighted dominance sum per point: with weights n2 for sample 1 and -n1 for sample
2, the sum over points with x <= x0 and y <= y0 is n1 n2 (f1 - f2) in the first quadrant, and the
other quadrants follow from the sums over x <= x0 and over y <= y0 alone.  These are whole numbers,
so that equal distances are exactly equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCK = 16  # below this many x-ranks all pairs are compared
EXACT = 2**52  # float64 holds every whole number up to twice this
CACHE = 2**14  # numbers per array that are worked on at a time; measured, a larger one is slower


def ks2d_distance(first: Reals, second: Reals) -> float:
    """D of two samples (n1, 2) and (n2, 2) of finite numbers, ties included.

    `InputError` for other shapes, an empty sample, or NaN.
    """
    pooled = Plane(np.concatenate([_checked(first, "first"), _checked(second, "second")]))
    inside = (np.arange(pooled.count) < len(first)).astype(np.int64)[None]
    return float(pooled.distances(inside, 1 - inside)[0])


@dataclass(frozen=True)
class _Level:
    """One merge: for each point of an upper half, how many of the lower half lie below it in y."""

    lower: Ints  # (P / 2,) places in y order, block after block
    upper: Ints  # (P / 2,) likewise
    below: Ints  # (P / 2,) position in the running sum of `lower` for each of `upper`
    start: Ints  # (blocks, 1) position at which each block starts


class Plane:
    """Points in the plane, arranged once so that distances for many choices of samples are quick.

    A choice gives each point a multiplicity in either sample: 0 or 1 for a split, more for a
    resample with replacement.
    """

    def __init__(self, points: Reals) -> None:
        """`points` (N, 2), finite."""
        x, y = points[:, 0], points[:, 1]
        # Both orders break ties by the other coordinate, then by index: one point then dominates
        # another if it comes later in both orders, except among equal points.
        by_x, by_y = np.lexsort((y, x)), np.lexsort((x, y))
        self.count = len(points)
        self._by_y = by_y
        rank_x = np.empty(self.count, np.int64)
        rank_x[by_x] = np.arange(self.count)
        size = max(BLOCK, 1 << (self.count - 1).bit_length())
        ranks = np.arange(size)
        ranks[: self.count] = rank_x[by_y]
        self._levels, order = _merges(ranks)
        self._blocks = order.reshape(-1, BLOCK)
        inside = ranks[self._blocks]
        earlier = np.tri(BLOCK, k=-1, dtype=bool)
        self._pairs = ((inside[:, :, None] > inside[:, None, :]) & earlier).astype(np.float64)
        xs, ys = x[by_x], y[by_y]
        equal = (np.diff(x[by_y]) == 0) & (np.diff(ys) == 0)
        self._same = _last_of_run(equal)
        # Every point in y order: its place in the x order, and the last place with its x, its y.
        self._x_order = by_x
        self._x_last = _last_of_run(np.diff(xs) == 0)[rank_x[by_y]]
        self._y_last = _last_of_run(np.diff(ys) == 0)

    def distances(self, first: Ints, second: Ints) -> Reals:
        """D for multiplicities `first` and `second` (K, N), row by row; shape (K,).

        Each row must sum to the same n1, and n2, above 0.
        """
        n1, n2 = int(first[0].sum()), int(second[0].sum())
        if n1 * n2 > EXACT:
            raise InputError(
                f"samples of {n1} and {n2} points are too many for exact sums; take subsets of at "
                f"most {int(EXACT**0.5)} points"
            )
        step = max(1, CACHE // self._blocks.size)
        parts = [
            self._gaps(first[i : i + step], second[i : i + step], n1, n2)
            for i in range(0, len(first), step)
        ]
        return np.concatenate(parts) / (2 * n1 * n2)

    def _gaps(self, first: Ints, second: Ints, n1: int, n2: int) -> Reals:
        """n1 n2 (D1 + D2) per row, whole numbers in float64."""
        weights = (n2 * first - n1 * second).astype(np.float64)
        own = weights[:, self._by_y]
        a = self._dominance(own)
        left_half = np.cumsum(weights[:, self._x_order], axis=1)[:, self._x_last]
        lower_half = np.cumsum(own, axis=1)[:, self._y_last]
        quadrants = (a, left_half - a, lower_half - a, a - left_half - lower_half)
        # The origin is taken out of its own sample's first quadrant, then put where it serves most.
        others = quadrants[1:]
        high, low = np.maximum.reduce(others), np.minimum.reduce(others)
        d1 = np.maximum.reduce((high + n2, a, -low, n2 - a))
        d2 = np.maximum.reduce((n1 - low, -a, high, n1 + a))
        is1, is2 = first[:, self._by_y] > 0, second[:, self._by_y] > 0
        both: Reals = np.where(is1, d1, 0).max(axis=1) + np.where(is2, d2, 0).max(axis=1)
        return both

    def _dominance(self, own: Reals) -> Reals:
        """Per point the weight of all points with x <= its x and y <= its y, (K, N), y order."""
        rows, count = own.shape
        size = self._blocks.size
        w = np.zeros((rows, size))
        w[:, :count] = own
        total = np.zeros((rows, size))
        for level in self._levels:
            sums = np.zeros((rows, size // 2 + 1))
            np.cumsum(w[:, level.lower], axis=1, out=sums[:, 1:])
            blocks = len(level.start)
            sums_below = sums[:, level.below].reshape(rows, blocks, -1) - sums[:, level.start]
            total[:, level.upper] += sums_below.reshape(rows, -1)
        inside = np.einsum("bij,kbj->kbi", self._pairs, w[:, self._blocks], optimize=True)
        total[:, self._blocks] += inside
        return (total + w)[:, self._same]


def _merges(ranks: Ints) -> tuple[list[_Level], Ints]:
    """The merges from the whole plane down to blocks of `BLOCK` x-ranks, and the order left.

    `ranks` (P,) is the x-rank of each place in y order, P a power of two.
    """
    order, levels, half = np.arange(len(ranks)), [], len(ranks) // 2
    while half >= BLOCK:
        high = (ranks[order] & half) > 0
        lower, upper = order[~high], order[high]
        below = np.cumsum(~high, dtype=np.int64)[high]
        start = np.arange(0, len(ranks) // 2, half)[:, None]
        levels.append(_Level(lower, upper, below, start))
        order = np.stack([lower.reshape(-1, half), upper.reshape(-1, half)], axis=1).ravel()
        half //= 2
    return levels, order


def _last_of_run(equal_to_next: NDArray[np.bool_]) -> Ints:
    """For each of N sorted values the index of the last one equal to it; input (N - 1,)."""
    ends = np.flatnonzero(~np.append(equal_to_next, False))
    return ends[np.searchsorted(ends, np.arange(len(equal_to_next) + 1))]


def _checked(sample: Reals, which: str) -> Reals:
    points = np.asarray(sample, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise InputError(
            f"the {which} sample has shape {points.shape}, expected (n, 2) with n of at least 1"
        )
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise InputError(
            f"point {int(np.flatnonzero(bad)[0])} of the {which} sample is NaN or infinite; "
            "leave it out"
        )
    return points
