"""Methods side by side on the same images: FLIPAD, Tables 1, 2 and 8, for any generator.

Laszkiewicz et al., ICML 2024, Section 5.1.  Every repetition draws new own images, splits the
others anew and fits every method on the same material; the rivals' images are judged every time and
never seen by a fit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.evaluation import evaluate, refuse_shared
from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.method import fit
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import stored_samples
from wherefrom.attribution.result import EvaluationResult
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.generators.generator import Generator


@dataclass(frozen=True)
class Series:
    """One measure over the repetitions."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the repetitions."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation (n - 1); None for one repetition."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"values": list(self.values), "mean": self.mean, "deviation": self.deviation}


@dataclass(frozen=True)
class MethodRow:
    """One method: accuracy (own kept and source rejected, averaged) and AUROC by source."""

    method: str
    title: str
    accuracy: Mapping[str, Series]
    auroc: Mapping[str, Series]
    mean_accuracy: Series  # over the sources: Tables 1 and 2
    mean_auroc: Series  # Table 8
    own_rejected: Series
    fit_seconds: Series
    score_seconds: Series  # wall time per 1,000 images
    config: AttributionConfig

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        series = ("mean_accuracy", "mean_auroc", "own_rejected", "fit_seconds", "score_seconds")
        return {
            "method": self.method,
            "title": self.title,
            "accuracy": {name: one.to_dict() for name, one in self.accuracy.items()},
            "auroc": {name: one.to_dict() for name, one in self.auroc.items()},
            **{name: getattr(self, name).to_dict() for name in series},
            "config": self.config.to_dict(),
        }


@dataclass(frozen=True)
class ComparisonResult:
    """One row per method, in the order in which they were asked for."""

    rows: tuple[MethodRow, ...]
    sources: Mapping[str, int]  # images per rival
    own_samples: int
    repetitions: int
    seed: int
    generator: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        plain = {key: value for key, value in asdict(self).items() if key != "rows"}
        return {"rows": [row.to_dict() for row in self.rows], **plain}


def compare(
    generator: Generator,
    others: Tensor,
    rivals: Mapping[str, Tensor],
    *,
    configs: Mapping[str, AttributionConfig],
    own_samples: int = 1000,
    repetitions: int = 5,
    seed: int = 0,
    track: Track = quiet,
    device: torch.device | str = "cpu",
) -> ComparisonResult:
    """Fit every method of `configs` (name -> settings) `repetitions` times, and judge the rivals.

    `others` (N, C, H, W) go into the fits; `rivals` are images of known origin by name, none of
    them among the others (an `InputError`).  Own test images are drawn anew each time.
    """
    if not configs or repetitions < 1 or own_samples < 1:
        raise InputError(
            f"{len(configs)} methods, {repetitions} repetitions and {own_samples} own images to "
            "compare by; give at least 1 of each"
        )
    for name, config in configs.items():
        find_method(name).settings(config)
    # A rival's image that a fit may see would flatter every method that learns.
    refuse_shared(others, rivals, generator.image_shape, whose="the others of the fit")
    tests = {
        number: stored_samples(
            generator, own_samples, derive_seed(seed, "comparison", number, "test")
        )
        for number in range(repetitions)
    }
    rows = []
    for name, config in configs.items():
        runs = []
        for number, own in track(tests.items(), f"comparing {name}", total=repetitions):
            fit_once = partial(
                fit,
                generator,
                others,
                method=name,
                config=config,
                seed=derive_seed(seed, "comparison", number),
                track=track,
                device=device,
            )
            runs.append(_run(fit_once, own, rivals, track))
        rows.append(_row(name, config, runs))
    return ComparisonResult(
        tuple(rows),
        {name: len(images) for name, images in rivals.items()},
        own_samples,
        repetitions,
        seed,
        generator.describe(),
    )


@dataclass(frozen=True)
class _Run:
    result: EvaluationResult
    fit_seconds: float
    score_seconds: float


def _run(
    fit_once: Callable[[], Attributor], own: Tensor, rivals: Mapping[str, Tensor], track: Track
) -> _Run:
    start = time.perf_counter()
    fitted = fit_once()
    between = time.perf_counter()
    result = evaluate(fitted, own, rivals, track=track)
    count = len(own) + sum(map(len, rivals.values()))
    spent = (time.perf_counter() - between) * 1000 / count
    return _Run(result, between - start, spent)


def _row(name: str, config: AttributionConfig, runs: list[_Run]) -> MethodRow:
    results = [run.result for run in runs]
    accuracy = {
        row.source: Series(tuple(r.others[i].accuracy for r in results))
        for i, row in enumerate(results[0].others)
    }
    auroc = {
        row.source: Series(tuple(float(r.others[i].auroc or 0.0) for r in results))
        for i, row in enumerate(results[0].others)
    }
    return MethodRow(
        method=name,
        title=find_method(name).title,
        accuracy=accuracy,
        auroc=auroc,
        mean_accuracy=Series(tuple(r.mean_accuracy for r in results)),
        mean_auroc=Series(tuple(map(statistics.fmean, zip(*_values(auroc), strict=True)))),
        own_rejected=Series(tuple(r.own.rejected for r in results)),
        fit_seconds=Series(tuple(run.fit_seconds for run in runs)),
        score_seconds=Series(tuple(run.score_seconds for run in runs)),
        config=config,
    )


def _values(series: Mapping[str, Series]) -> list[tuple[float, ...]]:
    return [one.values for one in series.values()]
