"""Fit and check of `patches` and `flipad` by stage, idle and beside one busy process.

`attribution.py` calls `measured`, once per method, model and case; every run is a process of its
own, with its own peak memory:

    python benchmarks/attribution_stages.py patches 64 --images 100

The stages of a fit are the loops that it shows as its progress, and the calls in PARTS.  What lies
between them (retouching, crops) is `rest`; what comes before and after the scorer, from splitting
the others to held-out samples and p-values, is `calibration`.  Others are random pixels: no stage's
time depends on what they show.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn

from wherefrom import attribution
from wherefrom.attribution.methods import METHODS, flipad, patches
from wherefrom.attribution.protocol import FitMaterial, Scorer, stored_samples
from wherefrom.core.rng import stream
from wherefrom.data import to_float
from wherefrom.detectors.classifier import FittedClassifier
from wherefrom.generators.generator import Generator, wrap_generator
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo.networks import initialise, make_generator

T = TypeVar("T")

FACE = Path(__file__).parents[1] / "examples" / "face_dcgan.py"
METHOD_NAMES = ("patches", "flipad")
STAGE_SIZES = (32, 64)
WARM_UP = 8  # images that are checked before the clock runs
STAGES = {
    "sampling the model": "sampling",
    "sampling other last layers": "sampling, altered layers",
    "fitting other last layers": "other layers",
    "measuring patches": "moments",
    "averaging activations": "mean activation",
    "inverting the last layer": "inversion",
    "training the detector": "Deep SAD",
    "training classifier number 1": "network 1",
    "training classifier number 2": "network 2",
}
# Calls that are stages of a fit as a whole: where they stand, and their name there.
PARTS: dict[str, tuple[tuple[Any, str, str], ...]] = {
    "patches": (
        (patches, "fit_patch_moments", "moments"),
        (patches.PatchesScorer, "evidence", "units of the scores"),
    ),
    "flipad": ((flipad, "both_scores", "units of the scores"),),
}
TINY = {
    "train_samples": 64,
    "calibration_samples": 200,
    "sibling_samples": 20,
    "mean_samples": 64,
    "reference_samples": 20,
    "classifier_samples": 64,
    "classifier.epochs": 1,
    "detector.epochs": 1,
}
# Multiplies matrices until it is ended, and says when it has begun.
BUSY = """
import torch
a = torch.randn(1000, 1000)
a @ a
print("begun", flush=True)
while True:
    a @ a
"""


@dataclass
class StageClock:
    """A `track` that adds up the seconds of every loop, without those of the loops inside it."""

    seconds: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        """Yield the items unchanged."""
        with self.inside(STAGES.get(label, label)):
            yield from items

    @contextmanager
    def inside(self, stage: str) -> Iterator[None]:
        """What runs here counts for the stage."""
        self._count()
        self._open.append(stage)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def counted(self, stage: str, call: Callable[..., T]) -> Callable[..., T]:
        """The same call, whose time counts for the stage."""

        def inside_stage(*given: Any, **named: Any) -> T:
            with self.inside(stage):
                return call(*given, **named)

        return inside_stage

    def _count(self) -> None:
        now = time.perf_counter()
        if self._open:
            stage = self._open[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


def dcgan_of_64_px() -> nn.Module:
    """An untrained DCGAN with the paper's last layer; latents (N, 100)."""
    network = make_generator("dcgan", size=64)
    initialise(network, stream(0, "benchmark"))
    return network


def model_of(size: int, weights: Path | None) -> Generator:
    """The zoo's DCGAN, or one of 64 px: that of faces where its weights are given."""
    if size == 32:
        return load_generator("zoo:fashion-dcgan-0")
    if weights:
        return load_generator(f"{FACE}:G", weights=weights)
    return wrap_generator(dcgan_of_64_px(), latent=(100,))


def fit_stages(
    method: str, generator: Generator, args: argparse.Namespace
) -> tuple[attribution.Attributor, dict[str, float]]:
    """A fitted attributor, and the seconds of its fit by stage."""
    chosen, stages = METHODS[method], {}

    def timed_fit(material: FitMaterial, config: Any) -> Scorer:
        clock = StageClock()
        with ExitStack() as restored:
            for home, name, stage in PARTS[method]:
                call = clock.counted(stage, getattr(home, name))
                restored.enter_context(mock.patch.object(home, name, call))
            spent, scorer = timed(lambda: chosen.fit(replace(material, track=clock), config))
        stages.update(clock.seconds)
        stages["rest"] = spent - sum(clock.seconds.values())
        return scorer

    METHODS[method] = replace(chosen, fit=timed_fit)
    config = chosen.presets["default"]
    if args.tiny:
        names = settings_in(config.to_dict())
        config = config.with_values({k: v for k, v in TINY.items() if k in names})
        flipad.REFERENCE_SAMPLES = TINY["reference_samples"]
    rng = stream(0, "benchmark", "others")
    shape = (args.others, *generator.image_shape)
    others = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    spent, fitted = timed(lambda: attribution.fit(generator, others, method=method, config=config))
    stages["calibration"] = spent - sum(stages.values())
    return fitted, {"all": spent, **stages}


def check_stages(fitted: attribution.Attributor, images: Tensor) -> dict[str, float]:
    """Seconds of `check` in all, and of its parts measured one after another."""
    fitted.check(images[:WARM_UP])
    spent, result = timed(lambda: fitted.check(images))
    if len(result.images) != len(images):
        raise RuntimeError("images without a verdict")
    scorer, pixels, stages = fitted.scorer, to_float(images), {}
    if isinstance(scorer, patches.PatchesScorer):
        stages["o"], o = timed(lambda: scorer.output_map.inverse(pixels))
        stages["moments"], _ = timed(lambda: scorer.moments.score(o))
        classifier: FittedClassifier | None = scorer.classifier
    elif isinstance(scorer, flipad.FlipadScorer):
        stages["inversion"], z = timed(lambda: scorer.features.extract(pixels))
        stages["Deep SAD"], _ = timed(lambda: scorer.detector.score(z))
        stages["o"], o = timed(lambda: flipad.pre_activations(scorer.features, pixels))
        classifier = scorer.classifier
    else:
        raise TypeError(f"no stages are known of {type(scorer).__name__}")
    for number, member in enumerate(classifier.members if classifier else (), 1):
        alone = replace(classifier, members=(member,))
        stages[f"network {number}"], _ = timed(lambda alone=alone: alone.score(o))
    return {"all": spent, **stages, "rest": spent - sum(stages.values())}


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what the call returns."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def settings_in(values: dict[str, Any], head: str = "") -> set[str]:
    """The names of all settings of a config's dict, with dots."""
    names: set[str] = set()
    for key, value in values.items():
        inner = isinstance(value, dict)
        names |= settings_in(value, f"{head}{key}.") if inner else {f"{head}{key}"}
    return names


def measured(method: str, size: int, args: argparse.Namespace) -> dict[str, Any]:
    """One method and model in processes of their own: idle, and beside one busy process.

    Of `args`: `images` to check, `others` of the fit, `threads`, `weights` and `tiny`.
    """
    command = [sys.executable, __file__, method, str(size), "--images", str(args.images)]
    command += ["--others", str(args.others)]
    command += ["--weights", str(args.weights)] if args.weights else []
    command += ["--tiny"] if args.tiny else []
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    cases = []
    for busy in (0, 1):
        others = [started_busy(environment) for _ in range(busy)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
        finally:
            for other in others:
                other.kill()
                other.communicate()
        if done.returncode:
            raise RuntimeError(done.stderr)
        cases.append({"busy": busy, **json.loads(done.stdout)})
    model = "zoo's DCGAN" if size == 32 else "DCGAN of faces" if args.weights else "untrained DCGAN"
    return {
        "method": method,
        "title": METHODS[method].title,
        "size": size,
        "model": model,
        "images": args.images,
        "others": args.others,
        "threads": args.threads,
        "tiny": args.tiny,
        "cases": cases,
    }


def started_busy(environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process that multiplies matrices, when it has begun to."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], env=environment, stdout=subprocess.PIPE, text=True
    )
    if process.stdout is None or process.stdout.readline() != "begun\n":
        process.kill()
        raise RuntimeError("the busy process did not begin")
    return process


def print_stages(run: dict[str, Any]) -> None:
    """The seconds of every stage, idle and beside a busy process."""
    threads = f"{run['threads']} threads"
    print(f"\n{run['title']}, {run['size']} px, {run['model']}, {threads}: s, idle and busy")
    for part in ("fit", "check"):
        for stage in run["cases"][0][part]:
            values = (case[part].get(stage, 0.0) for case in run["cases"])
            shown = "".join(f"{value:10.3f}" for value in values)
            print(f"  {part} {'in all' if stage == 'all' else stage:26}{shown}")
    speeds = (run["images"] / case["check"]["all"] for case in run["cases"])
    print(f"  {'images checked per second':32}", *(f"{speed:9.1f}" for speed in speeds), sep="")
    peaks = (case["peak_mib"] for case in run["cases"])
    print(f"  {'peak memory, MiB':32}", *(f"{peak:9.0f}" for peak in peaks), sep="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=METHOD_NAMES)
    parser.add_argument("size", type=int, choices=STAGE_SIZES)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--others", type=int, default=1000)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    generator = model_of(args.size, args.weights)
    fitted, fit_seconds = fit_stages(args.method, generator, args)
    check_seconds = check_stages(fitted, stored_samples(generator, args.images, 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"fit": fit_seconds, "check": check_seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()
