"""The two-dimensional KS distance against the plain quadrant method.

    python benchmarks/ks2d.py [--sizes 1000 10000 50000]

The plain method counts the four quadrants around every point with numpy, as published codes do:
O(n) work for each of 2 n origins.  Both run on one thread, alternately; the best of the repeats
counts, and the plain method is run once at each size above 10,000.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wherefrom import __version__
from wherefrom.metrics.ks2d import ks2d_distance
from wherefrom.metrics.ks2d_inference import permutation_test

Reals = NDArray[np.float64]


def plain(first: Reals, second: Reals) -> float:
    """D by counting quadrants around every point."""
    return (_one_sided(first, second) + _one_sided(second, first)) / 2


def _one_sided(origins: Reals, other: Reals) -> float:
    n, m, widest = len(origins), len(other), 0.0
    for x0, y0 in origins:
        left, under = origins[:, 0] <= x0, origins[:, 1] <= y0
        both, x_only, y_only = _three(left, under)
        mine = np.array([both - 1, x_only, y_only, n - both - x_only - y_only]) / n
        both, x_only, y_only = _three(other[:, 0] <= x0, other[:, 1] <= y0)
        theirs = np.array([both, x_only, y_only, m - both - x_only - y_only]) / m
        gap = mine - theirs
        widest = max(widest, -gap.min(), gap.max() + 1 / n)
    return widest


def _three(left: NDArray[np.bool_], under: NDArray[np.bool_]) -> tuple[int, int, int]:
    both = int(np.count_nonzero(left & under))
    return both, int(np.count_nonzero(left)) - both, int(np.count_nonzero(under)) - both


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds of the quickest run, and what it gave."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def compare(size: int, repeats: int, seed: int) -> dict[str, Any]:
    """One row: seconds of both methods, and how far their D lie apart."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(size, 2)), rng.normal(size=(size, 2)) + 0.05
    ours, d = timed(lambda: ks2d_distance(first, second), max(3, repeats))
    theirs, reference = timed(lambda: plain(first, second), repeats if size <= 10_000 else 1)
    return {
        "points": size,
        "plain_seconds": theirs,
        "seconds": ours,
        "times_faster": theirs / ours,
        "distance": d,
        "difference": abs(d - reference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/ks2d.json"))
    args = parser.parse_args()
    rows = []
    for size in args.sizes:
        rows.append(compare(size, args.repeats, args.seed))
        print(
            "{points} points: plain {plain_seconds:.3g} s, ours {seconds:.3g} s, "
            "{times_faster:.0f}x, difference {difference:.1e}".format(**rows[-1])
        )
    rng = np.random.default_rng(args.seed)
    pair = rng.normal(size=(1_000, 2)), rng.normal(size=(1_000, 2))
    seconds, _ = timed(lambda: permutation_test(*pair, draws=999), 1)
    print(f"permutation test, 2 x 1,000 points, 999 permutations: {seconds:.3g} s")
    found = {
        "command": "python benchmarks/ks2d.py",
        "wherefrom": __version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "seed": args.seed,
        "repeats": args.repeats,
        "sizes": rows,
        "permutation_test_seconds": seconds,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
