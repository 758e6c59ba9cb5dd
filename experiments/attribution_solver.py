"""What the inversion's solver and the detector each contribute to telling images apart.

    python experiments/attribution_solver.py --data ../shared/data/fashion-mnist

Two tables, of the zoo's models on Fashion-MNIST (32 px, grey), reduced to --train own images:

    solver     Deep SAD, own against real images, on activations from early-stopped FISTA (10, 50
               and 200 iterations) and from the certified lasso (relative duality gap 1e-2), for
               three weights lambda of the l1 term.  Beside the AUROC of every source: the share of
               entries of z' that are not zero, and the objective over the certified minimum.
    detector   At the same number of own images, with the same negatives and in the same arithmetic
               (fp32): Deep SAD on early-stopped activations, the classifier on pre-activations, and
               both joined; with real negatives alone, and with impostors and other last layers too.

Own, training, calibration and test images are disjoint; no rival's image enters a fit.  Every cell
is stored in --work, so that a run that was stopped continues.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unseen_clothes import unseen_clothes

from wherefrom import __version__
from wherefrom.attribution.config import PRESETS
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.methods.flipad import combine, mean_activation, pre_activations
from wherefrom.attribution.protocol import stored_samples
from wherefrom.attribution.training.impostors import make_impostors
from wherefrom.attribution.training.other_layers import draw_by_other_layers
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data import to_float, to_uint8
from wherefrom.detectors.classifier import ClassifierConfig, fit_classifier
from wherefrom.detectors.deep_sad import DeepSadConfig, fit_deep_sad
from wherefrom.generators.loading import load_generator
from wherefrom.metrics.detection import auroc

OWNERS = ("dcgan", "wgan-gp", "ebgan")
LAMBDAS = (5e-5, 5e-4, 5e-3)
ITERATIONS = (10, 50, 200)
CERTIFIED = "certified"
GAP = 1e-2


class Owner:
    """One owner in one repetition: images by role, and its inversion."""

    def __init__(self, name: str, number: int, real: Tensor, args: argparse.Namespace) -> None:
        self.name, self.args = name, args
        self.seed = derive_seed(args.seed, "solver", name, number)
        self.generator = load_generator(f"zoo:fashion-{name}-0")
        self.real = real[torch.randperm(len(real), generator=stream(self.seed, "real"))]
        self.mean = mean_activation(self.generator, 1000, self.seed)

    def map(self, lasso: LassoConfig) -> FeatureMap:
        """The inversion by that solver."""
        g = self.generator
        return FeatureMap(g.last_layer, g.output_map, self.mean, lasso, 32, None)

    @cached_property
    def sets(self) -> dict[str, Tensor]:
        """Float images by role; `test: SOURCE` are judged."""
        n, test = self.args.train, self.args.test
        rival = next(kind for kind in OWNERS if kind != self.name)
        drawn = {
            "own": (self.generator, n),
            "held": (self.generator, self.args.calibration),
            "base": (self.generator, n),
            "test: own": (self.generator, test),
            "test: other seed": (load_generator(f"zoo:fashion-{self.name}-1"), test),
            "test: rival": (load_generator(f"zoo:fashion-{rival}-0"), test),
        }
        images = {
            role: to_float(stored_samples(maker, count, derive_seed(self.seed, role)))
            for role, (maker, count) in drawn.items()
        }
        moved = make_impostors(images.pop("base"), seed=self.seed, moved=0.8)
        layers = draw_by_other_layers(self.generator, n, seed=derive_seed(self.seed, "layers"))
        return images | {
            "real": to_float(self.real[:n]),
            "test: real": to_float(self.real[n : n + test]),
            "impostors": to_float(to_uint8(moved)),
            "layers": to_float(layers),
        }

    def judged(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        """AUROC and share rejected at the false-negative rate, by source."""
        threshold = threshold_at_rate(scores["held"], self.args.fnr)
        own = scores["test: own"]
        return {
            key.removeprefix("test: "): {
                "auroc": None if key == "test: own" else auroc(own, values),
                "rejected": float((values > threshold).double().mean()),
            }
            for key, values in scores.items()
            if key.startswith("test: ")
        }

    def solver_cell(self, lam: float, effort: str) -> dict[str, Any]:
        """Deep SAD on the activations of one solver, and what the activations are like."""
        lasso = _lasso(lam, effort)
        features = self.map(lasso)
        roles = ("own", "real", "held", *(key for key in self.sets if key.startswith("test: ")))
        extracted = {role: features.extract(self.sets[role]) for role in roles}
        detector = self._deep_sad(extracted, ["real"])
        few = self.sets["held"][:32]
        solved, best = features.invert(few), self.map(_lasso(lam, CERTIFIED)).invert(few)
        shifted = solved.activations - self.mean
        return {
            "sources": self.judged(_scores(detector.score, extracted)),
            "not zero": float((shifted.abs() > 1e-6).double().mean()),
            "objective": float((solved.objective / best.objective).mean()),
        }

    def detector_cells(self) -> dict[str, Any]:
        """Deep SAD, the classifier and both, by the negatives they were trained on."""
        features = self.map(LassoConfig())
        activations = {role: features.extract(images) for role, images in self.sets.items()}
        inputs = {role: pre_activations(features, images) for role, images in self.sets.items()}
        cells = {}
        for title, negatives in (
            ("real", ["real"]),
            ("real, impostors, other layers", ["real", "impostors", "layers"]),
        ):
            sad = _scores(self._deep_sad(activations, negatives).score, activations)
            classifier = fit_classifier(
                inputs["own"],
                torch.cat([inputs[role] for role in negatives]),
                config=ClassifierConfig(precision="fp32"),
                seed=derive_seed(self.seed, "classifier", title),
            )
            logits = _scores(classifier.score, inputs)
            cells[f"Deep SAD; {title}"] = self.judged(sad)
            cells[f"classifier; {title}"] = self.judged(logits)
            cells[f"both; {title}"] = self.judged(_joined(sad, logits))
        return cells

    def _deep_sad(self, features: dict[str, Tensor], negatives: list[str]) -> Any:
        x = torch.cat([features[role] for role in ("own", *negatives)])
        y = torch.ones(len(x))
        y[len(features["own"]) :] = -1
        config = DeepSadConfig(epochs=self.args.epochs, precision="fp32", standardise="inliers")
        return fit_deep_sad(x, y, config=config, seed=derive_seed(self.seed, "sad", *negatives))


def _lasso(lam: float, effort: str) -> LassoConfig:
    if effort == CERTIFIED:
        return replace(PRESETS["paper"].lasso, lam=lam, gap=GAP)
    return LassoConfig(lam=lam, iterations=int(effort))


def _scores(score: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    judged = [role for role in inputs if role == "held" or role.startswith("test: ")]
    return {role: score(inputs[role]) for role in judged}


def _joined(sad: dict[str, Tensor], logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """As `FlipadScorer.score`, in units of the calibration images: both halves of one split."""
    pair = {role: torch.stack([sad[role].log(), logits[role]], dim=1) for role in sad}
    half = pair["held"][::2]
    middle = half.median(dim=0).values
    spread = (half - middle).abs().median(dim=0).values.clamp_min(1e-9)
    joined = {role: combine((both - middle) / spread) for role, both in pair.items()}
    return joined | {"held": joined["held"][1::2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST's idx.gz")
    parser.add_argument("--out", type=Path, default=Path("docs/results/attribution_solver.json"))
    parser.add_argument("--work", type=Path, default=Path("build/attribution_solver"))
    parser.add_argument("--owners", nargs="*", default=list(OWNERS), choices=OWNERS)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--train", type=int, default=300, help="own images; as many of each other")
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--test", type=int, default=150, help="images per source")
    parser.add_argument("--epochs", type=int, default=10, help="of Deep SAD")
    parser.add_argument("--fnr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    real, digest = unseen_clothes(args.data)
    args.work.mkdir(parents=True, exist_ok=True)
    cells = []
    for number in range(args.repetitions):
        for name in args.owners:
            owner = Owner(name, number, real, args)
            efforts = [str(count) for count in ITERATIONS] + [CERTIFIED]
            wanted = [("detector", 0.0, "")]
            wanted += [("solver", lam, effort) for effort in efforts for lam in LAMBDAS]
            for table, lam, effort in wanted:
                stored = args.work / f"{name}-{number}-{table}-{lam:g}-{effort}.json"
                if not stored.exists():
                    found = (
                        owner.solver_cell(lam, effort)
                        if table == "solver"
                        else owner.detector_cells()
                    )
                    stored.write_text(json.dumps(found))
                    print(stored.name, flush=True)
                cell = {"owner": name, "number": number, "table": table, "lambda": lam}
                cells.append(cell | {"effort": effort, "found": json.loads(stored.read_text())})
    settings = {k: v for k, v in vars(args).items() if not isinstance(v, Path) and k != "owners"}
    result = {
        "command": "python experiments/attribution_solver.py --data FASHION_MNIST",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "data": digest,
        "settings": settings,
        "cells": cells,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
