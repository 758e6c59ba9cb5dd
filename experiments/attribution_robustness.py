"""FLIPAD's Table 3 at reduced scale: altered images, and what each ingredient is worth.

    python experiments/attribution_robustness.py --data ../shared/data/fashion-mnist

The owner's generator is seed 0 of an architecture of the zoo (Fashion-MNIST, 32 px, grey).  Judged
are real images, the three other architectures and the same architecture with another seed; none of
their images enters a fit.  As in the paper, own calibration images are altered like the test images
(the threshold knows the alteration, the detector may not).  Recipes add one ingredient after the
other; each is also fitted with the tested kind left out of training, once per kind.

Every recipe of an owner and repetition is kept in --work as soon as it is done, so a run that was
stopped continues.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom import __version__
from wherefrom.attribution.config import PRESETS
from wherefrom.attribution.immunity import Immunity
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.protocol import Material, Scorer, stored_samples
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data import degradations, load_training_images, to_float
from wherefrom.generators.loading import load_generator
from wherefrom.metrics.detection import auroc, balanced_accuracy

ARCHITECTURES = ("dcgan", "wgan-gp", "lsgan", "ebgan")

# Table 3's strengths: crops are given there in pixels of 64, blur as a kernel with sigma 3.
ALTERATIONS = {
    "clean": (None, lambda x, rng: x),
    "blur 1": ("blur", lambda x, rng: degradations.blur(x, 1.0)),
    "crop 60": ("crop", lambda x, rng: degradations.crop(x, 60 / 64)),
    "crop 55": ("crop", lambda x, rng: degradations.crop(x, 55 / 64)),
    "noise 0.05": ("noise", lambda x, rng: degradations.noise(x, 0.05, rng)),
    "noise 0.1": ("noise", lambda x, rng: degradations.noise(x, 0.1, rng)),
    "JPEG 90": ("jpeg", lambda x, rng: degradations.jpeg(x, 90)),
    "JPEG 80": ("jpeg", lambda x, rng: degradations.jpeg(x, 80)),
    "WebP 80": ("webp", lambda x, rng: degradations.webp(x, 80)),
}

PAPER = {"impostors": 0.0, "classifier_samples": 0}
WORN = {"immunise": 0.8}
INTERVALS = {"lasso.data": "interval"}
NOISE = {"lasso.data": "interval", "lasso.slack": "noise"}
RECIPES: dict[str, dict[str, Any]] = {
    "FLIPAD, paper": PAPER,
    "paper, immunised": PAPER | WORN,
    "paper, immunised, intervals": PAPER | WORN | INTERVALS,
    "paper, immunised, intervals, noise": PAPER | WORN | NOISE,
    "default": {},
    "default, immunised": WORN,
    "default, immunised, intervals, noise": WORN | NOISE,
}
LEFT_OUT = "default, immunised"  # the recipe that is fitted again without each kind


def altered(images: Tensor, name: str, seed: int) -> Tensor:
    """uint8 images after one alteration; image i depends on itself, i and the seed only."""
    change = ALTERATIONS[name][1]
    return torch.stack([change(x, stream(seed, name, i)) for i, x in enumerate(images)])


class Cell:
    """One owner, one repetition: images by role, and a fit per recipe."""

    def __init__(self, owner: str, number: int, real: Tensor, args: argparse.Namespace) -> None:
        self.owner, self.args = owner, args
        self.seed = derive_seed(args.seed, "robustness", owner, number)
        self.generator = load_generator(f"zoo:fashion-{owner}-0")
        real = real[torch.randperm(len(real), generator=stream(self.seed, "real"))]
        self.others, held_real = real[: args.train], real[args.train :]
        self.roles = {
            "held": self._draw(f"zoo:fashion-{owner}-0", args.calibration, "held"),
            "own": self._draw(f"zoo:fashion-{owner}-0", args.test, "own"),
            "real": held_real[: args.test],
            "other seed": self._draw(f"zoo:fashion-{owner}-1", args.test, "other seed"),
        }
        for kind in ARCHITECTURES:
            if kind != owner:
                self.roles[kind] = self._draw(f"zoo:fashion-{kind}-0", args.test, kind)

    def _draw(self, name: str, count: int, role: str) -> Tensor:
        return stored_samples(load_generator(name), count, derive_seed(self.seed, "draw", role))

    def run(self, recipe: str, left_out: str) -> dict[str, Any]:
        """Fit, and judge every role under every alteration (under the one left out, if any)."""
        base = PRESETS["default"].with_values(
            {
                "train_samples": self.args.train,
                "detector.epochs": self.args.epochs,
                "classifier_samples": self.args.classifier,
                "mean_samples": 2000,
            }
        )
        config = base.with_values(RECIPES[recipe] | {"left_out": left_out})
        immunity = Immunity.of(config)
        others = immunity.applied(self.others, self.seed, "others")
        start = time.perf_counter()
        material = Material(self.generator, others, self.seed, immunity=immunity)
        scorer = METHODS["flipad"].fit(material, config)
        spent = time.perf_counter() - start
        judged = {
            name: self._judge(scorer, name)
            for name, (kind, _) in ALTERATIONS.items()
            if left_out in ("none", kind)
        }
        return {"fit_seconds": spent, "alterations": judged}

    def _judge(self, scorer: Scorer, alteration: str) -> dict[str, Any]:
        scores = {
            role: scorer.score(
                to_float(altered(images, alteration, derive_seed(self.seed, "alter", role)))
            )
            for role, images in self.roles.items()
        }
        threshold = threshold_at_rate(scores["held"], self.args.fnr)
        missed = float((scores["own"] > threshold).double().mean())
        found: dict[str, Any] = {"own rejected": missed}
        for role, values in scores.items():
            if role not in ("held", "own"):
                rejected = float((values > threshold).double().mean())
                found[role] = {
                    "accuracy": balanced_accuracy(missed, rejected),
                    "auroc": auroc(scores["own"], values),
                }
        return found


def jobs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(recipe, kind left out) in the order in which they are run."""
    kinds = sorted({kind for kind, _ in ALTERATIONS.values() if kind})
    found = [(recipe, "none") for recipe in args.recipes]
    return found + [(LEFT_OUT, kind) for kind in kinds if LEFT_OUT in args.recipes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST's idx.gz")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results/attribution_robustness.json")
    )
    parser.add_argument("--work", type=Path, default=Path("build/attribution_robustness"))
    parser.add_argument("--owners", nargs="*", default=list(ARCHITECTURES), choices=ARCHITECTURES)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--train", type=int, default=1000, help="own images; as many others")
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--test", type=int, default=400, help="images per source")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--classifier", type=int, default=16_000, help="own crops for the classifier"
    )
    parser.add_argument("--fnr", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # The generators saw the first 40,000 training images; these are the other 20,000.
    data = args.data / "train-images-idx3-ubyte.gz"
    loaded = load_training_images(data, size=32, channels=1, span=(40_000, 60_000))
    real = torch.unique(loaded.images, dim=0)
    args.work.mkdir(parents=True, exist_ok=True)
    cells = []
    for number in range(args.repetitions):
        for owner in args.owners:
            cell = None
            for recipe, left_out in jobs(args):
                name = f"{owner}-{number}-{recipe.replace(', ', '_').replace(' ', '-')}-{left_out}"
                kept = args.work / f"{name}.json"
                if not kept.exists():
                    cell = cell or Cell(owner, number, real, args)
                    kept.write_text(json.dumps(cell.run(recipe, left_out)))
                found = json.loads(kept.read_text())
                cells.append(
                    {"owner": owner, "number": number, "recipe": recipe, "left_out": left_out}
                    | found
                )
                _tell(cells[-1])
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "out", "work")}
    result = {
        "command": "python experiments/attribution_robustness.py --data FASHION_MNIST",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "data": loaded.digest,
        "settings": settings,
        "cells": cells,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


def _tell(cell: dict[str, Any]) -> None:
    shown = {
        name: round(statistics.fmean(r["accuracy"] for r in row.values() if isinstance(r, dict)), 3)
        for name, row in cell["alterations"].items()
    }
    print(cell["owner"], cell["number"], cell["recipe"], cell["left_out"], shown, flush=True)


if __name__ == "__main__":
    main()
