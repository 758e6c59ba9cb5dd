"""The step of DLSGAN against a plain one, on images of noise.

    python benchmarks/gan_step.py [--size 32] [--width 32] [--batch 32] [--repeats 8]

The plain step is Algorithm 2 as it is printed: float32, R1 in every step through the critic's pass
over the real images, one pass for the real and one for the generated images, the default memory
layout, an optimiser that is not fused.  Ours takes R1 of an eighth of its batch, both kinds in one
pass, channels last, and bfloat16 where the machine multiplies it.  All run alternately in rounds of
eight steps on the same networks and batches; process time counts, so that other programs matter
less.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom import __version__
from wherefrom.core.compute.passes import halves
from wherefrom.core.rng import stream
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.networks.assembly import Classes, build_networks
from wherefrom.inversion.networks.bodies import StandardArchitecture
from wherefrom.inversion.training.dataset import Dataset
from wherefrom.inversion.training.task import InversionTask

ROUND = 8  # steps between two looks at the clock
R1 = 0.1


class Plain:
    """Algorithm 2, line by line."""

    def __init__(self, task: InversionTask) -> None:
        c, networks = task.config, copy.deepcopy(task.state.networks)
        self.task, self.config = task, c
        self.critic, self.generator = networks.critic, networks.generator
        self.average = copy.deepcopy(networks)
        self.networks = networks
        self.v = torch.full((c.latent,), c.trace_start)
        self.adam = {
            name: torch.optim.AdamW(
                module.parameters(), c.learning_rate, betas=(0.0, c.beta2), eps=c.epsilon
            )
            for name, module in networks.named_children()
        }

    def step(self, index: int) -> None:
        c, rng = self.config, stream(self.task.seed, "inversion", "step", index)
        rows = torch.randint(len(self.task.dataset.data), (c.batch,), generator=rng)
        x = self.task.dataset.take(rows, torch.device("cpu"))[0].requires_grad_(True)
        z = torch.randn(c.batch, c.latent, generator=rng)  # 1, 2
        s = torch.sqrt(c.latent * self.v) / torch.linalg.vector_norm(self.v.sqrt())  # 3
        with torch.no_grad():
            fake = self.generator(z * s)
        made = self.critic(fake)  # 4
        real = self.critic(x)  # 5
        encoder = (((z - made.code) * s) ** 2).mean()  # 6
        adversarial = (F.softplus(-real.scores) + F.softplus(made.scores)).mean()  # 7
        (slope,) = torch.autograd.grad(real.scores.sum(), x, create_graph=True)
        penalty = slope.square().sum(dim=(1, 2, 3)).mean()
        self._minimise("critic", adversarial + encoder + R1 * penalty)  # 8, 9
        first = made.code.detach() ** 2  # 10
        z = torch.randn(c.batch, c.latent, generator=rng)  # 11
        made = self.critic(self.generator(z * s))  # 12
        encoder = (((z - made.code) * s) ** 2).mean()  # 13
        self._minimise("generator", F.softplus(-made.scores).mean() + encoder)  # 14-16
        both = torch.cat([first, made.code.detach() ** 2])  # 17
        self.v = c.trace_decay * self.v + (1 - c.trace_decay) * both.mean(dim=0)  # 18
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.networks.parameters(), strict=True)
            for mean, weight in pairs:
                mean.lerp_(weight, 1 - c.ema)

    def _minimise(self, name: str, loss: Tensor) -> None:
        weights = [w for g in self.adam[name].param_groups for w in g["params"]]
        self.adam[name].zero_grad()
        loss.backward(inputs=weights)  # type: ignore[no-untyped-call]
        self.adam[name].step()


def make_task(config: InversionConfig, size: int, channels: int) -> InversionTask:
    rng = stream(0, "benchmark")
    images = torch.randint(256, (256, channels, size, size), generator=rng, dtype=torch.uint8)
    dataset = Dataset(images, None, Classes())
    made = StandardArchitecture(config, dataset.shape)
    networks = build_networks(config, dataset.shape, Classes(), made, seed=0)
    return InversionTask(dataset, networks, config, seed=0, device=torch.device("cpu"))


def interleaved(steps: dict[str, Callable[[int], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of processor time per step, one value per round of every contestant."""
    for step in steps.values():
        step(0)
        step(1)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats):
        for name, step in steps.items():
            start = time.process_time()
            for index in range(ROUND):
                step(repeat * ROUND + index)
            seconds[name].append((time.process_time() - start) / ROUND)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/results/gan_step.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = InversionConfig(width=args.width, batch=args.batch, r1=R1)
    tasks = {
        name: make_task(config.with_values({"precision": name}), args.size, args.channels)
        for name in ("fp32", *(["bf16"] if halves("auto", torch.device("cpu")) else []))
    }
    plain = Plain(
        make_task(
            config.with_values({"precision": "fp32", "channels_last": False}),
            args.size,
            args.channels,
        )
    )
    steps: dict[str, Callable[[int], Any]] = {"plain": plain.step}
    steps |= {f"ours, {name}": task.step for name, task in tasks.items()}
    seconds = interleaved(steps, args.repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name}: {1000 * value:.0f} ms per step, {medians['plain'] / value:.2f}x")
    found = {
        "command": "python benchmarks/gan_step.py",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": 1,
        "settings": {k: v for k, v in vars(args).items() if k != "out"},
        "seconds_per_step": medians,
        "rounds": seconds,
        "times_faster": {name: medians["plain"] / value for name, value in medians.items()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
