"""FLIPAD's Table 1 and Table 2 at reduced scale, from one command.

    python experiments/table_1_2.py --data ../shared/data/fashion-mnist

Eight generators on Fashion-MNIST (32 px, grey, width 32): DCGAN, WGAN-GP, LSGAN, EBGAN, two seeds
each.  The owner's is seed 0.  Table 1: against real images and the three other architectures.
Table 2: against the same architecture with the other seed.  Own, training, calibration and test
images are disjoint; no rival's image enters a fit.

Methods (--methods):
    paper      FLIPAD as the paper: Deep SAD on activations that are inverted to a certified gap
               (the lasso of the preset "paper"), real images as negatives;
    flipads    the same on activations of early-stopped least squares (50 iterations of the fast
               effort, this project's default), the same with impostors, and the default with its
               classifier;
    raw-pad, dct-pad, fingerprint, inversion-l2, inversion-feature
               the paper's baselines.  The inversions cost minutes per hundred images (10 attempts
               of 1,000 steps each): they judge the first --inversion-images of every source by as
               many held-out images as the rate needs, and keep their seconds per image.

Every repetition draws new images and trains new detectors.  A run that was stopped continues: each
cell is stored in --work, each method in a file of its own.  Methods that this command does not name
keep the rows that --out holds already; --kept makes the table of the cells that are stored.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unseen_clothes import unseen_clothes

from wherefrom import __version__
from wherefrom.attribution.config import PRESETS, AttributionConfig, FlipadConfig
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.methods.flipad import (
    FlipadScorer,
    add_classifier,
    combine,
    mean_activation,
    pre_activations,
)
from wherefrom.attribution.methods.patches import PatchesConfig, fit_patches
from wherefrom.attribution.protocol import FitMaterial, stored_samples
from wherefrom.attribution.training.impostors import make_impostors
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data import to_float, to_uint8
from wherefrom.detectors.deep_sad import DeepSadConfig, FittedDeepSad, fit_deep_sad
from wherefrom.generators.generator import Generator
from wherefrom.generators.loading import load_generator
from wherefrom.metrics.detection import auroc, balanced_accuracy

ARCHITECTURES = ("dcgan", "wgan-gp", "lsgan", "ebgan")
PAPER = "FLIPAD, paper"
FLIPADS = ("FLIPAD, early-stopped", "FLIPAD + impostors", "FLIPAD, default")
BASELINES = ("raw-pad", "dct-pad", "fingerprint", "inversion-l2", "inversion-feature")
PATCHES = "Patches, default"
METHOD_PARTS = ("paper", "flipads", "patches", *BASELINES)


class Repetition:
    """One owner, one repetition: images, features, detectors."""

    def __init__(self, owner: str, number: int, real: Tensor, args: argparse.Namespace) -> None:
        self.owner, self.args = owner, args
        self.seed = derive_seed(args.seed, "table", owner, number)
        self.generator = _zoo(owner, 0)
        self.config: FlipadConfig = replace(PRESETS["default"], train_samples=args.train)
        self.sad = DeepSadConfig(epochs=args.epochs, precision="bf16")
        self.real = real[torch.randperm(len(real), generator=stream(self.seed, "real"))]

    @cached_property
    def map(self) -> FeatureMap:
        """FLIPAD's inversion, early-stopped."""
        return FeatureMap(
            self.generator.last_layer,
            self.generator.output_map,
            mean_activation(self.generator, 2000, self.seed),
            self.config.lasso,
            self.config.max_side,
            None,
        )

    def run_paper(self) -> dict[str, Any]:
        """Accuracy and AUROC per source of the paper's recipe with its certified inversion."""
        certified = replace(self.map, lasso=PRESETS["paper"].lasso)
        names = ("own", "others", *(name for name in self.sets if _is_judged(name)))
        f = {name: certified.extract(self.sets[name]) for name in names}
        detector = self._fit(f, [f["others"]], "inliers", "paper")
        return {PAPER: self._judge({n: detector.score(f[n]) for n in f if _is_judged(n)})}

    def images(self) -> dict[str, Tensor]:
        """uint8 images by role; `test: <source>` are judged, `rival: <kind>` may be trained on."""
        n, test = self.args.train, self.args.test
        draw = lambda g, count, name: stored_samples(g, count, derive_seed(self.seed, name))  # noqa: E731
        base = draw(self.generator, n, "impostors")
        fakes = make_impostors(to_float(base), seed=self.seed, moved=self.config.moved)
        found = {
            "own": draw(self.generator, n, "own"),
            "held": draw(self.generator, self.args.calibration, "held"),
            "others": self.real[:n],
            "impostors": to_uint8(fakes),
            "test: own": draw(self.generator, test, "test own"),
            "test: real": self.real[n : n + test],
        }
        for kind in ARCHITECTURES:
            if kind != self.owner:
                found[f"test: {kind}"] = draw(_zoo(kind, 0), test, f"test {kind}")
        found["test: other seed"] = draw(_zoo(self.owner, 1), test, "test other seed")
        return found

    @cached_property
    def sets(self) -> dict[str, Tensor]:
        """The images by role as floats."""
        return {name: to_float(x) for name, x in self.images().items()}

    def run_flipads(self) -> dict[str, Any]:
        """Accuracy and AUROC per source of FLIPAD on early-stopped inversions, in three kinds."""
        images = self.sets
        f = {name: self.map.extract(x) for name, x in images.items()}
        paper = self._fit(f, [f["others"]], "inliers", "paper")
        ours = self._fit(f, [f["others"], f["impostors"]], "inliers", "ours")
        judged = [name for name in f if _is_judged(name)]
        sad = {name: ours.score(f[name]) for name in judged}
        evidence = add_classifier(
            FlipadScorer(self.map, ours),
            FitMaterial(self.generator, to_uint8(images["others"]), self.seed),
            self.config,
        )
        joined = {name: self._join(evidence, sad[name], images[name]) for name in judged}
        scores = ({name: paper.score(f[name]) for name in judged}, sad, joined)
        return {name: self._judge(found) for name, found in zip(FLIPADS, scores, strict=True)}

    def run_patches(self) -> dict[str, Any]:
        """The same of the method `patches` with its default settings."""
        material = FitMaterial(self.generator, self.images()["others"], self.seed)
        start = time.perf_counter()
        scorer = fit_patches(material, PatchesConfig())
        print(f"patches: {time.perf_counter() - start:.0f} s", flush=True)
        judged = {name: x for name, x in self.sets.items() if _is_judged(name)}
        return {PATCHES: self._judge({name: scorer.score(x) for name, x in judged.items()})}

    def run_part(self, part: str) -> dict[str, Any]:
        """What one of METHOD_PARTS gives."""
        if part == "paper":
            return self.run_paper()
        if part == "patches":
            return self.run_patches()
        return self.run_flipads() if part == "flipads" else self.run_baseline(part)

    def run_baseline(self, name: str) -> dict[str, Any]:
        """The same for one baseline of the paper."""
        method = METHODS[name]
        config = method.presets["default"]
        wanted = {
            "train_samples": self.args.train,
            "detector.epochs": self.args.epochs,
            "restarts": self.args.restarts,
            "steps": self.args.steps,
        }
        known = config.to_dict() | {f"detector.{k}": v for k, v in _detector(config).items()}
        config = config.with_values({k: v for k, v in wanted.items() if k in known})
        material = FitMaterial(self.generator, to_uint8(self.sets["others"]), self.seed)
        scorer = method.fit(material, config)
        judged = {key: x for key, x in self.sets.items() if _is_judged(key)}
        if _inverts(name):
            count = self.args.inversion_images
            needed = max(count, math.ceil(1 / self.args.fnr))
            judged = {k: x[: needed if k == "held" else count] for k, x in judged.items()}
        start = time.perf_counter()
        found = self._judge({key: scorer.score(images) for key, images in judged.items()})
        spent = (time.perf_counter() - start) / sum(map(len, judged.values()))
        return {method.title: found, "seconds per image": spent}

    def _fit(
        self, sets: dict[str, Tensor], negatives: list[Tensor], standardise: str, name: str
    ) -> FittedDeepSad:
        x = torch.cat([sets["own"], *negatives])
        y = torch.ones(len(x))
        y[len(sets["own"]) :] = -1
        config = replace(self.sad, standardise=standardise)
        return fit_deep_sad(x, y, config=config, seed=derive_seed(self.seed, name))

    def _join(self, evidence: FlipadScorer, sad: Tensor, images: Tensor) -> Tensor:
        """`FlipadScorer.score` without a second inversion of the same images."""
        if evidence.classifier is None or evidence.reference is None:
            raise TypeError("the default has a classifier")
        logit = evidence.classifier.score(pre_activations(self.map, images))
        median, spread = evidence.reference
        return combine((torch.stack([sad.log(), logit], dim=1) - median) / spread)

    def _judge(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        threshold = threshold_at_rate(scores["held"], self.args.fnr)
        own = scores["test: own"]
        missed = float((own > threshold).double().mean())
        found = {}
        for key, values in scores.items():
            source = key.removeprefix("test: ")
            if key.startswith("test: ") and source != "own":
                rejected = float((values > threshold).double().mean())
                found[source] = {
                    "accuracy": balanced_accuracy(missed, rejected),
                    "auroc": auroc(own, values),
                    "own_rejected": missed,
                }
        return found


def _is_judged(name: str) -> bool:
    return name == "held" or name.startswith("test: ")


def _inverts(baseline: str) -> bool:
    return baseline.startswith("inversion")


def _detector(config: AttributionConfig) -> dict[str, Any]:
    found: dict[str, Any] = config.to_dict().get("detector", {})
    return found


def _zoo(kind: str, seed: int) -> Generator:
    return load_generator(f"zoo:fashion-{kind}-{seed}")


def summarise(cells: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per owner, method and source; each measure as a list over the method's repetitions.

    The first repetition holds every method that any of them holds.
    """
    return [
        {
            "owner": owner,
            "method": method,
            "source": source,
            **{
                measure: [r[method][source][measure] for r in repetitions if method in r]
                for measure in ("accuracy", "auroc", "own_rejected")
            },
        }
        for owner, repetitions in cells.items()
        for method, sources in repetitions[0].items()
        for source in sources
    ]


def with_other_methods(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The result with the rows of an earlier one whose method or owner it lacks.

    A `SystemExit` if the earlier one is of other data or settings.
    """
    differing = [key for key in ("data", "settings") if found[key] != before[key]]
    if differing:
        raise SystemExit(f"--out holds a table of other {differing}; name another file")
    new = {(cell["owner"], cell["method"]) for cell in found["cells"]}
    earlier_cells = [cell for cell in before["cells"] if (cell["owner"], cell["method"]) not in new]
    titles = (PAPER, *FLIPADS, PATCHES, *(METHODS[name].title for name in BASELINES))
    cells = sorted(
        [*found["cells"], *earlier_cells],
        key=lambda cell: (ARCHITECTURES.index(cell["owner"]), titles.index(cell["method"])),
    )
    seconds = before["seconds_per_image"] | found["seconds_per_image"]
    return found | {"cells": cells, "seconds_per_image": seconds}


def _tell(owner: str, number: int, found: dict[str, Any]) -> None:
    rows = {name: sources for name, sources in found.items() if isinstance(sources, dict)}
    shown = {
        name: round(statistics.fmean(cell["accuracy"] for cell in sources.values()), 4)
        for name, sources in rows.items()
    }
    print(owner, number, shown, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST's idx.gz")
    parser.add_argument("--out", type=Path, default=Path("docs/results/table_1_2.json"))
    parser.add_argument("--work", type=Path, default=Path("build/table_1_2"))
    parser.add_argument("--owners", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--train", type=int, default=1000, help="own images; as many others")
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--test", type=int, default=400, help="images per source")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--methods", nargs="*", default=list(METHOD_PARTS), choices=METHOD_PARTS)
    parser.add_argument("--inversion-images", type=int, default=200, help="per source, at most")
    parser.add_argument("--kept", action="store_true", help="a table of what --work has, no fits")
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--fnr", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    real, digest = unseen_clothes(args.data)
    args.work.mkdir(parents=True, exist_ok=True)
    cells: dict[str, list[dict[str, Any]]] = {}
    seconds: dict[str, list[float]] = {}
    for number in range(args.repetitions):
        for owner in args.owners:
            cell: dict[str, Any] = {}
            repetition = Repetition(owner, number, real, args)
            for part in args.methods:
                path = args.work / f"{owner}-{number}-{part}.json"
                if args.kept and not path.exists():
                    continue
                if not path.exists():
                    path.write_text(json.dumps(repetition.run_part(part)))
                    _tell(owner, number, json.loads(path.read_text()))
                figures = json.loads(path.read_text())
                if part in BASELINES:
                    seconds.setdefault(part, []).append(figures.pop("seconds per image"))
                cell |= figures
            cells.setdefault(owner, []).append(cell)
    unsaid = ("data", "out", "work", "owners", "kept", "methods", "repetitions")
    settings = {k: v for k, v in vars(args).items() if k not in unsaid}
    result = {
        "command": "python experiments/table_1_2.py --data FASHION_MNIST",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "data": digest,
        "settings": settings,
        "seconds_per_image": seconds,
        "cells": summarise(cells),
    }
    if args.out.exists():
        result = with_other_methods(result, json.loads(args.out.read_text()))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
