"""What does a busy machine cost?  Inversions idle, and beside processes that never rest.

    python benchmarks/threads.py [--out docs/results/threads.json]

64 images of 64 px through FLIPAD's last-layer inversion (ConvTranspose 64 -> 3, 4x4, stride 2; 50
iterations), in a process of its own per row: by one thread, by the product's passes on several
threads, and by torch's own threads sharing every operation, which wait actively or passively.  The
last two are not what the product does; they show why.  Needs no files.  Run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ITERATIONS = 50
WAYS = ("one thread", "passes", "torch's threads", "torch's threads, passive")
SLOW = 2  # images where operations are shared: beside a busy process one may take seconds


def invert(way: str, images: int, repeats: int) -> list[float]:
    """Milliseconds per image, once per repeat."""
    import torch

    from wherefrom.attribution.final_layer.config import LassoConfig
    from wherefrom.attribution.final_layer.lasso import Inverter
    from wherefrom.generators.last_layer.layer import LastLayer

    rng = torch.Generator().manual_seed(0)
    layer = LastLayer(
        kind="conv_transpose",
        weight=torch.randn(64, 3, 4, 4, generator=rng) * 0.05,
        bias=None,
        stride=(2, 2),
        padding=(1, 1),
        dilation=(1, 1),
        output_padding=(0, 0),
        groups=1,
        input_shape=(64, 32, 32),
        output_shape=(3, 64, 64),
    )
    z = torch.randn(images, 64, 32, 32, generator=rng).relu()
    o = layer.apply(z)
    inverter = Inverter(layer, z.mean(dim=0), LassoConfig(iterations=ITERATIONS))
    run = inverter.invert if way in ("one thread", "passes") else inverter._solve
    run(o[:2])
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(o)
        milliseconds.append(1000 * (time.perf_counter() - start) / images)
    return milliseconds


def measured(way: str, threads: int, busy: int, args: argparse.Namespace) -> list[float]:
    """The same in a process of its own, beside `busy` processes that never rest."""
    shares = way.startswith("torch's")
    environment = os.environ | {"OMP_NUM_THREADS": "1" if way == "one thread" else str(threads)}
    if way.endswith("passive"):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(busy)]
    images = SLOW if shares and busy else args.images
    inner = ["--one", way, "--images", str(images), "--repeats", str(args.repeats)]
    try:
        child = subprocess.run(
            [sys.executable, __file__, *inner],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    values: list[float] = json.loads(child.stdout)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(invert(args.one, args.images, args.repeats)))
        return
    rows: list[dict[str, Any]] = []
    print(f"{args.threads} threads, load {os.getloadavg()[0]:.2f}; ms per image, median (range)")
    for way in WAYS:
        for busy in (0, 1):
            values = measured(way, args.threads, busy, args)
            rows.append({"way": way, "busy": busy, "milliseconds": values})
            beside = "beside one busy process" if busy else "idle"
            low, high = min(values), max(values)
            print(f"{way:25} {beside:24} {statistics.median(values):8.1f} ({low:.1f}-{high:.1f})")
    if args.out:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": args.threads,
            "images": args.images,
            "iterations": ITERATIONS,
        }
        args.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
