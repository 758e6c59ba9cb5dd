"""What larger weights first are worth: FISTA to a proved gap, cold and by continuation.

    python benchmarks/continuation.py --out docs/results/continuation.json

The last layers of the project's trained zoo (Fashion-MNIST, 32 px), at the paper's weights of the
l1 term.  Iterations are what counts; seconds are of cold and warm in turns, in one run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wherefrom import __version__
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.attribution.methods.flipad import mean_activation
from wherefrom.attribution.protocol import stored_samples
from wherefrom.data.images.writing import to_float
from wherefrom.generators.loading import load_generator

LAYERS = ("dcgan", "wgan-gp", "lsgan", "ebgan")
LAMS = (5e-4, 1e-3, 1e-1)
GAPS = (0.5, 0.1)
LIMIT = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/results/continuation.json"))
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in LAYERS:
        generator = load_generator(f"zoo:fashion-{name}-0")
        z_bar = mean_activation(generator, 512, 0)
        images = to_float(stored_samples(generator, args.images, 1))
        o = generator.output_map.inverse(images)
        for lam in LAMS:
            for gap in GAPS:
                config = LassoConfig(
                    lam=lam, effort="exact", solver="fista", gap=gap, max_iterations=LIMIT
                )
                row: dict[str, Any] = {"layer": name, "lam": lam, "gap": gap}
                for way, used in (("cold", replace(config, continuation=0)), ("warm", config)):
                    inverter = Inverter(generator.last_layer, z_bar, used)
                    start = time.perf_counter()
                    found = inverter.invert(o)
                    row |= {
                        f"{way} seconds": time.perf_counter() - start,
                        f"{way} iterations": found.iterations.tolist(),
                        f"{way} gap": found.relative_gap.tolist(),
                    }
                rows.append(row)
                print(row, flush=True)
    result = {
        "command": "python benchmarks/continuation.py",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "images": args.images,
        "limit": LIMIT,
        "rows": rows,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
