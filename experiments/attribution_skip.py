"""Trained generators with a skip into their last layer: which images are theirs?  FLIPAD, App. F.

    python experiments/attribution_skip.py --data ../shared/data    # trains what is missing

Two kinds, each trained twice with DCGAN's loss on 10,000 images of Fashion-MNIST
(32 px, grey):
a residual last block, and an output skip whose smaller image is upsampled and added, as in
StyleGAN2 but with weights that no style changes.  The owner is one seed; rivals are the other seed,
both seeds of the other kind, and real images that were not trained on.  Deep SAD alone, without the
classifier: small settings, and the features are what is asked about.  RawPAD and DCTPAD beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom import __version__, attribution
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.methods import find_method
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import write_file
from wherefrom.data.datasets import load_training_images
from wherefrom.data.images.writing import to_float
from wherefrom.generators.generator import Generator, wrap_generator
from wherefrom.generators.zoo.networks import initialise
from wherefrom.generators.zoo.training import GanTask, ZooTrainingConfig
from wherefrom.metrics.detection import auroc

RESULT = Path("docs/results/attribution_skip.json")
LATENT, WIDTH = 64, 24
TEST = 150
METHODS = ("flipad", "raw-pad", "dct-pad")


class Body(nn.Module):
    """Latents (N, 64) to activations (N, 24, 32, 32) and those of half the side."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(LATENT, 4 * WIDTH, 4, bias=False)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a * WIDTH, b * WIDTH, 4, 2, 1, bias=False)
            for a, b in ((4, 2), (2, 2), (2, 1))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(n * WIDTH) for n in (4, 2, 2, 1))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.norms[0](self.first(z[:, :, None, None])))
        smaller = h
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            smaller, h = h, F.relu(norm(up(h)))
        return h, smaller


class Residual(nn.Module):
    """x = tanh(conv(h) + s): s is a projection of what enters the last block."""

    latent_dim = LATENT

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.short = nn.Conv2d(WIDTH, 1, 1)
        self.hidden = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.last = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        entering, _ = self.body(z)
        skip = self.short(entering)
        h = F.relu(self.norm(self.hidden(entering)))
        return torch.tanh(self.last(h) + skip)


class OutputSkip(nn.Module):
    """x = tanh(grey(h) + up(grey of half the side))."""

    latent_dim = LATENT

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.small = nn.Conv2d(2 * WIDTH, 1, 1)
        self.last = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h, smaller = self.body(z)
        up = F.interpolate(self.small(smaller), scale_factor=2, mode="bilinear")
        return torch.tanh(self.last(h) + up)


KINDS = {"residual": Residual, "output skip": OutputSkip}


def trained(kind: str, seed: int, images: Tensor, args: argparse.Namespace) -> Generator:
    """The generator, read from --work where it was trained with the same settings."""
    config = ZooTrainingConfig(
        size=32, channels=1, width=16, steps=args.steps, batch=64, latent=LATENT, seed=seed
    )
    place = args.work / f"{kind.replace(' ', '-')}-{seed}-{args.steps}.safetensors"
    module = KINDS[kind]()
    if place.exists():
        module.load_state_dict(load_file(place))
        return wrap_generator(module)
    task = GanTask(images, config)
    initialise(module, stream(seed, "attribution-skip", kind))
    task.generator = module
    task._g = torch.optim.Adam(module.parameters(), config.learning_rate, (0.5, 0.999))
    for index in range(args.steps):
        task.step(index)
    save_file(module.state_dict(), place)
    return wrap_generator(module)


def settings(method: str, args: argparse.Namespace) -> AttributionConfig:
    """The paper's budget cut to --train images; the same for every method."""
    preset = find_method(method).presets["quick" if method == "flipad" else "default"]
    counts = {
        "train_samples": args.train,
        "calibration_samples": args.train,
        "false_positive_rate": 0.05,
    }
    if method == "flipad":
        counts |= {"classifier_samples": 0, "mean_samples": args.train}
    return dataclasses.replace(preset, **counts)


def measure(
    owner: Generator, sources: dict[str, Tensor], others: Tensor, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """For each method and source: AUROC against own images, and the share that is rejected."""
    own = owner.sample(TEST, derive_seed(0, "attribution-skip", "test"))
    rows = []
    for method in METHODS:
        start = time.process_time()
        fitted = attribution.fit(owner, others, method=method, config=settings(method, args))
        mine = fitted.score(own)
        for name, images in {"own": own, **sources}.items():
            rejected = fitted.check(images).counts()[Verdict.NOT_OURS] / len(images)
            found = auroc(mine, fitted.score(images)) if name != "own" else 0.5
            rows.append({"method": method, "source": name, "auroc": found, "rejected": rejected})
        print(method, f"{time.process_time() - start:.0f} s of CPU", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with fashion-mnist/")
    parser.add_argument("--work", type=Path, default=Path("build/attribution-skip"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--steps", type=int, default=800, help="of each GAN")
    parser.add_argument("--train", type=int, default=200, help="own images to fit and to calibrate")
    parser.add_argument(
        "--owners", type=int, default=2, choices=(1, 2), help="seeds that are owners"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    place = args.data / "fashion-mnist"
    train = load_training_images(
        place / "train-images-idx3-ubyte.gz", size=32, channels=1, limit=10_000
    )
    test = load_training_images(place / "t10k-images-idx3-ubyte.gz", size=32, channels=1)
    others, real = test.images[:400], to_float(test.images[-TEST:])
    models = {}
    for kind, seed in itertools.product(KINDS, (0, 1)):
        models[kind, seed] = trained(kind, seed, train.images, args)
        print("trained", kind, seed, flush=True)
    cells = []
    for seed, kind in itertools.product(range(args.owners), KINDS):
        other = next(k for k in KINDS if k != kind)
        rivals = {
            "other seed": models[kind, 1 - seed],
            "other kind": models[other, seed],
            "other kind, other seed": models[other, 1 - seed],
        }
        sources = {name: g.sample(TEST, 7) for name, g in rivals.items()} | {"real": real}
        rows = measure(models[kind, seed], sources, others, args)
        cells += [{"owner": kind, "seed": seed, **row} for row in rows]
        result = {
            "command": "python experiments/attribution_skip.py --data DATA",
            "settings": {k: getattr(args, k) for k in ("steps", "train", "owners")}
            | {"test": TEST, "width": WIDTH, "others": len(others)},
            "versions": {"wherefrom": __version__, "torch": torch.__version__},
            "cells": cells,
        }
        write_file(args.out, json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main()
