"""Projected gradients of images: ours against loops over the images.

    python benchmarks/credit_gradients.py --out docs/results/credit_gradients.json

All three make the same rows: the gradient of the diffusion loss over all weights, averaged over K
time steps, times the same random signs.  Ours takes the gradients of a batch at once (vmap) and
projects them together.  The loops take one gradient at a time, as a user without vmap would; one of
them projects a batch of gradients together, the other each alone, with the signs drawn anew as they
are never held whole.  Medians of `--repeats`; `difference` is the largest one between rows, over
the largest entry.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom import __version__
from wherefrom.credit.diffusion.gradients import (
    GradientConfig,
    NoisyInputs,
    noise_images,
    project,
    projected_gradients,
)
from wherefrom.credit.diffusion.model import Diffusion, make_unet


def make_model(width: int, side: int) -> Diffusion:
    """A small grey DDPM, untrained."""
    settings = {
        "sample_size": side,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": [width, 2 * width, 4 * width],
        "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D"] * 3,
        "norm_num_groups": 4,
    }
    return Diffusion(make_unet(settings, seed=0), (1, side, side))


def one_gradient(model: Diffusion, inputs: NoisyInputs, index: int) -> dict[str, Tensor]:
    """The gradient of one image by parameter name, (1, ...)."""
    named = {k: p for k, p in model.network.named_parameters() if p.requires_grad}
    x, t, e = inputs.x[index], inputs.t[index], inputs.e[index]
    told = model.predict(x, t, inputs.conditions[index].expand(len(x)))
    found = torch.autograd.grad((told - e).square().mean(), list(named.values()))
    return {name: gradient[None] for name, gradient in zip(named, found, strict=True)}


def loop(model: Diffusion, inputs: NoisyInputs, config: GradientConfig, together: int) -> Tensor:
    """Rows by a loop, `together` gradients projected at once."""
    rows = []
    for part in torch.split(torch.arange(len(inputs.x)), together):
        each = [one_gradient(model, inputs, int(index)) for index in part]
        batch = {name: torch.cat([found[name] for found in each]) for name in each[0]}
        rows.append(project(batch, config.dimension, seed=config.seed))
    return torch.cat(rows)


def timed(make: Callable[[], Tensor], repeats: int) -> tuple[Tensor, float]:
    """The rows and the median seconds; the first time does not count."""
    rows, times = make(), []
    for _ in range(repeats):
        began = time.perf_counter()
        rows = make()
        times.append(time.perf_counter() - began)
    return rows, statistics.median(times)


def main() -> None:
    """Print the table and save the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="K, time steps per image")
    parser.add_argument("--dimension", type=int, default=512, help="k, length of a row")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = make_model(args.width, args.side)
    weights = sum(p.numel() for p in model.network.parameters())
    config = GradientConfig(dimension=args.dimension, steps=args.steps, batch=args.batch)
    images = torch.rand(args.images, *model.shape, generator=torch.Generator().manual_seed(0))
    conditions = torch.zeros(args.images, dtype=torch.int64)
    inputs = noise_images(model, images * 2 - 1, conditions, config)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours: a batch at once": lambda: projected_gradients(model, inputs, config),
        "a loop, projected in batches": lambda: loop(model, inputs, config, args.batch),
        "a loop, projected one by one": lambda: loop(model, inputs, config, 1),
    }
    rows: list[dict[str, Any]] = []
    known, fastest = None, 0.0
    for what, make in ways.items():
        found, seconds = timed(make, args.repeats)
        if known is None:
            known, fastest = found, seconds
        difference = float((found - known).abs().max() / known.abs().max())
        rows.append(
            {
                "what": what,
                "per_second": args.images / seconds,
                "ratio": seconds / fastest,
                "difference": difference,
            }
        )
        print(f"{what}: {args.images / seconds:.2f} images/s, {seconds / fastest:.2f}x", flush=True)
    if args.out:
        settings = {k: v for k, v in vars(args).items() if k != "out"}
        result = {
            "command": "python benchmarks/credit_gradients.py",
            "settings": settings | {"weights": weights},
            "versions": {
                "wherefrom": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "rows": rows,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
