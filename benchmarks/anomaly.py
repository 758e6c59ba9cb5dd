"""What the anomaly scores cost, and the Frechet distance against a matrix square root.

    python benchmarks/anomaly.py [--data FOLDER] [--encoder efficientnet-lite0] [--images 8]

Frechet distance: our nuclear-norm form against scipy's square root of the product of the
covariances, as published codes compute it, on normal features; the best of the repeats counts.

Scores (with --data, a folder of images): seconds per image, from decoded pixels to C, V and
features, beside those of the passes that the definition needs and nothing else: one clean forward,
K forwards per noise direction, J forwards with a backward and one forward more per attack.  The
passes are given as many images at a time as the scores give them, and take turns with the scores.
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
from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.measuring.features import CPU_PIXELS
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.measuring.scoring import score_images
from wherefrom.data.folders import list_images
from wherefrom.data.splits import spread_indices
from wherefrom.encoders import DEFAULT_FEATURES, FeatureNetwork, load_feature_encoder
from wherefrom.metrics.feature_sets.frechet import frechet_distance


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


def scores(
    images: Tensor, encoder: FeatureNetwork, config: AnomalyConfig, repeats: int
) -> dict[str, Any]:
    """Seconds per image of the scores and of the bare passes, and both in single forwards."""
    with torch.no_grad():
        encoder.features(images[:1])
        forward, _ = timed(lambda: encoder.features(images[:1]), max(3, repeats))
    ours, bare = [], []
    for _ in range(repeats):
        ours.append(timed(lambda: score_images(images, encoder, config=config), 1)[0])
        bare.append(timed(lambda: [passes(x[None], encoder, config) for x in images], 1)[0])
    each, needed = (min(seconds) / len(images) for seconds in (ours, bare))
    return {
        "encoder": encoder.identity.kind,
        "resolution": encoder.resolution,
        "images": len(images),
        "config": config.to_dict(),
        "images_per_second": 1 / each,
        "forward_seconds": forward,
        "forward_equivalents": each / forward,
        "needed_forward_equivalents": needed / forward,
        "overhead": each / needed,
    }


def passes(x: Tensor, encoder: FeatureNetwork, config: AnomalyConfig) -> None:
    """What C and V of one image (1, 3, S, S) cannot do without."""
    rows = max(1, min(config.steps, CPU_PIXELS // x[0, 0].numel()))
    noisy = x.expand(config.steps, -1, -1, -1).contiguous()
    with torch.no_grad():
        clean = encoder.features(x)
        for _ in range(config.directions):
            for part in torch.split(noisy, rows):
                encoder.features(part)
    for _ in range(config.restarts):
        for _ in range(config.attack_steps):
            at = (x + 1e-3).requires_grad_()
            torch.autograd.grad((encoder.features(at) - clean).square().sum(), at)
        with torch.no_grad():
            encoder.features(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--data", type=Path, help="a folder of images, for the scores")
    parser.add_argument("--encoder", default=DEFAULT_FEATURES)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--images", type=int, default=8)
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
        "command": "python benchmarks/anomaly.py --data FOLDER",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "repeats": args.repeats,
        "frechet": rows,
    }
    if args.data is not None:
        encoder = load_feature_encoder(args.encoder, resolution=args.resolution)
        files = list_images([args.data])
        files = [files[row] for row in spread_indices(len(files), args.images)]
        images = torch.stack([load_image(file, encoder.resolution) for file in files])
        found["scores"] = scores(images, encoder, DEFAULT, args.repeats)
        print(
            "{encoder}, {resolution} px: {images_per_second:.3g} images/s, "
            "{forward_equivalents:.1f} forward-equivalents per image, {overhead:.3f}x the passes "
            "needed".format(**found["scores"])
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
