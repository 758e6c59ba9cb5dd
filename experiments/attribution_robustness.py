"""FLIPAD's Table 3 at reduced scale: altered images, and what each ingredient is worth.

    python experiments/attribution_robustness.py --data ../shared/data/fashion-mnist

The owner's generator is seed 0 of an architecture of the zoo (Fashion-MNIST, 32 px, grey).  Judged
are real images, the three other architectures and the same architecture with another seed; none of
their images enters a fit.  As in the paper, own images that give the threshold are altered like the
test images.  Recipes add one ingredient after the other: one detector trained on all alterations
(immunised), or one per kind of alteration (experts, which is what the paper's Table 3 does).  The
immunised one is also fitted with the tested kind left out of training, once per kind.

Every recipe of an owner and repetition is kept in --work as soon as it is done, so a run that was
stopped continues.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unseen_clothes import unseen_clothes

from wherefrom import __version__
from wherefrom.attribution.evaluation.robustness import judge_altered
from wherefrom.attribution.images.conditions import (
    KIND_OF,
    NONE,
    Immunity,
    condition_after,
    specialties,
)
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.protocol import FitMaterial, Scorer, stored_samples
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data.altering.degradations import TABLE_3, Alteration
from wherefrom.generators.loading import load_generator

ARCHITECTURES = ("dcgan", "wgan-gp", "lsgan", "ebgan")
ALTERATIONS: dict[str, Alteration | None] = {"clean": None} | {str(one): one for one in TABLE_3}
PLAIN, MIXED, APART = "unaltered images", "all alterations", "one alteration each"


@dataclass(frozen=True)
class Recipe:
    """A method, its settings, and what it is trained on."""

    training: str
    settings: dict[str, Any]
    method: str = "flipad"


EARLY = {"impostors": 0.0, "classifier_samples": 0}  # the paper's, on early-stopped inversions
PAPER = EARLY | {"lasso.effort": "exact", "lasso.gap": 1e-2}
WORN = {"immunise": 0.8}
NOISE = {"lasso.data": "interval", "lasso.slack": "noise"}
RECIPES = {
    "FLIPAD, paper": Recipe(PLAIN, PAPER),
    "FLIPAD, early-stopped": Recipe(PLAIN, EARLY),
    "early-stopped, immunised": Recipe(MIXED, EARLY | WORN),
    "early-stopped, experts": Recipe(APART, EARLY | WORN),
    "default": Recipe(PLAIN, {}),
    "default, immunised": Recipe(MIXED, WORN),
    "default, experts": Recipe(APART, WORN),
    "default, experts, intervals and noise": Recipe(APART, WORN | NOISE),
    "ensemble, experts": Recipe(APART, WORN, "ensemble"),
}
KINDS_TESTED = tuple(dict.fromkeys(one.kind for one in TABLE_3))
LEFT_OUT = "default, immunised"  # the recipe that is fitted again without each kind


class Cell:
    """One owner, one repetition: images by role, and a fit per recipe."""

    def __init__(self, owner: str, number: int, real: Tensor, args: argparse.Namespace) -> None:
        self.owner, self.args = owner, args
        self.scorers: dict[tuple[object, ...], Scorer] = {}
        self.seed = derive_seed(args.seed, "robustness", owner, number)
        self.generator = load_generator(f"zoo:fashion-{owner}-0")
        real = real[torch.randperm(len(real), generator=stream(self.seed, "real"))]
        self.others, held_real = real[: args.train], real[args.train :]
        self.held = self._draw(f"{owner}-0", args.calibration, "held")
        self.own = self._draw(f"{owner}-0", args.test, "own")
        self.sources = {"real": held_real[: args.test]}
        for kind in ARCHITECTURES:
            if kind != owner:
                self.sources[kind] = self._draw(f"{kind}-0", args.test, kind)
        self.sources["other seed"] = self._draw(f"{owner}-1", args.test, "other seed")

    def _draw(self, name: str, count: int, role: str) -> Tensor:
        generator = load_generator(f"zoo:fashion-{name}")
        return stored_samples(generator, count, derive_seed(self.seed, "draw", role))

    def run(self, recipe: Recipe, left_out: str) -> dict[str, Any]:
        """Fit, and judge every source under every alteration (under the one left out, if any)."""
        args = self.args
        sizes = {
            "train_samples": args.train,
            "detector.epochs": args.epochs,
            "classifier_samples": args.classifier,
            "mean_samples": 2000,
            "left_out": left_out,
        }
        method = METHODS[recipe.method]
        config = method.presets["default"].with_values(sizes | recipe.settings)
        start = time.perf_counter()

        def fitted(worn: Immunity) -> Scorer:
            # what saw no alteration is the same whatever the recipe says of them
            told = {k: v for k, v in recipe.settings.items() if k != "immunise"}
            key = (recipe.method, json.dumps(told, sort_keys=True), worn.kinds, worn.share)
            if key not in self.scorers:
                others = worn.applied(self.others, self.seed, "others")
                material = FitMaterial(self.generator, others, self.seed, immunity=worn)
                self.scorers[key] = method.fit(material, config)
            return self.scorers[key]

        scorers = {"": fitted(Immunity.of(config) if recipe.training == MIXED else NONE)}
        if recipe.training == APART:
            apart = specialties(Immunity.of(config))
            # of the experts for WebP and for files of another size none is tested here
            scorers |= {k: fitted(worn) for k, worn in apart.items() if k in ("jpeg", "noise")}
        spent = time.perf_counter() - start
        judged = {}
        for name, alteration in ALTERATIONS.items():
            if left_out not in ("none", alteration.kind if alteration else ""):
                continue
            scorer = scorers.get(KIND_OF.get(condition_after(alteration), ""), scorers[""])
            judged[name] = asdict(
                judge_altered(
                    scorer.score,
                    alteration,
                    held=self.held,
                    own=self.own,
                    sources=self.sources,
                    rate=args.fnr,
                    seed=self.seed,
                )
            )
        return {"fit_seconds": spent, "alterations": judged}


def jobs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(recipe, kind left out) in the order in which they are run."""
    found = [(recipe, "none") for recipe in args.recipes]
    return found + [(LEFT_OUT, kind) for kind in args.left_out if LEFT_OUT in args.recipes]


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
    parser.add_argument("--left-out", nargs="*", choices=KINDS_TESTED, default=list(KINDS_TESTED))
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--test", type=int, default=400, help="images per source")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--classifier", type=int, default=16_000, help="own crops for the classifier"
    )
    parser.add_argument("--fnr", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    real, digest = unseen_clothes(args.data)
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
                    kept.write_text(json.dumps(cell.run(RECIPES[recipe], left_out)))
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
        "data": digest,
        "settings": settings,
        "cells": cells,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


def _tell(cell: dict[str, Any]) -> None:
    shown = {
        name: round(statistics.fmean(row["accuracy"].values()), 3)
        for name, row in cell["alterations"].items()
    }
    print(cell["owner"], cell["number"], cell["recipe"], cell["left_out"], shown, flush=True)


if __name__ == "__main__":
    main()
