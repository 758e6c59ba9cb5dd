"""Methods side by side on the same images: FLIPAD, Tables 1, 2, 3 and 8, for any generator.

Laszkiewicz et al., ICML 2024, Section 5.1.  Every repetition draws new own images, splits the
others anew and fits every method on the same material; the rivals' images are judged every time and
never seen by a fit.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.evaluation.per_source import evaluate, refuse_shared
from wherefrom.attribution.evaluation.robustness import AlteredOutcome, judge_altered
from wherefrom.attribution.images.conditions import condition_after
from wherefrom.attribution.method import fit
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import as_stored, stored_samples
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.degradations import Alteration
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.generators.generator import Generator
from wherefrom.metrics.detection import finite_mean


@dataclass(frozen=True)
class Series:
    """One measure over the repetitions; NaN in one that has no finite score of a source."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the repetitions that have a value; NaN where none has."""
        return finite_mean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation (n - 1) over the same; None for one repetition."""
        finite = [value for value in self.values if math.isfinite(value)]
        return statistics.stdev(finite) if len(finite) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"values": list(self.values), "mean": self.mean, "deviation": self.deviation}


@dataclass(frozen=True)
class Measured:
    """One method: accuracy (own kept and source rejected, averaged) and AUROC by source."""

    method: str
    title: str
    accuracy: Mapping[str, Series]
    auroc: Mapping[str, Series]
    mean_accuracy: Series  # over the sources: Tables 1, 2 and 3
    mean_auroc: Series  # Table 8
    own_rejected: Series

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {info.name: _json_value(getattr(self, info.name)) for info in fields(self)}


@dataclass(frozen=True)
class MethodRow(Measured):
    """One method on images as they were made, and what it costs."""

    fit_seconds: Series
    score_seconds: Series  # wall time per 1,000 images
    config: AttributionConfig


@dataclass(frozen=True)
class AlteredRow(Measured):
    """One method on images after an alteration: Table 3."""

    alteration: str


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _json_value(part) for name, part in value.items()}
    return value if isinstance(value, str) else value.to_dict()


@dataclass(frozen=True)
class ComparisonResult(AsTable):
    """One row per method, in the order in which they were asked for; and per alteration of it."""

    rows: tuple[MethodRow, ...]
    altered: tuple[AlteredRow, ...]
    sources: Mapping[str, int]  # images per rival
    own_samples: int
    repetitions: int
    seed: int
    generator: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        rows = {
            name: [row.to_dict() for row in getattr(self, name)] for name in ("rows", "altered")
        }
        return asdict(self) | rows

    def as_table(self) -> tuple[Rows, str]:
        return self.to_rows(), "Methods of attribution, by source"

    def to_rows(self) -> list[dict[str, Any]]:
        """A row per method, alteration and source; its values are unrounded."""
        return [
            {
                "method": row.method,
                "alteration": row.alteration if isinstance(row, AlteredRow) else "",
                "source": source,
                "accuracy": row.accuracy[source].mean,
                "accuracy_deviation": row.accuracy[source].deviation,
                "auroc": row.auroc[source].mean,
                "auroc_deviation": row.auroc[source].deviation,
            }
            for row in (*self.rows, *self.altered)
            for source in row.accuracy
        ]


@dataclass(frozen=True, kw_only=True)
class ComparisonDesign:
    """How often methods are fitted, and on what they are measured."""

    own_samples: int = 1000  # own images to judge in each repetition
    repetitions: int = 5
    alterations: tuple[Alteration, ...] = ()  # each is also done to all images that are judged


def compare(
    generator: Generator,
    others: Tensor,
    rivals: Mapping[str, Tensor],
    *,
    configs: Mapping[str, AttributionConfig],
    design: ComparisonDesign | None = None,
    seed: int = 0,
    track: Track = quiet,
    device: torch.device | str = "cpu",
) -> ComparisonResult:
    """Fit every method of `configs` (name -> settings) several times, and judge the rivals.

    `others` (N, C, H, W) go into the fits; `rivals` are images of known origin by name, none of
    them among the others (an `InputError`).  Own test images are drawn anew in each repetition.
    Altered images are judged as `robustness.judge_altered` says.
    """
    design = design or ComparisonDesign()
    if not configs or design.repetitions < 1 or design.own_samples < 1:
        raise InputError(
            f"{len(configs)} methods, {design.repetitions} repetitions and {design.own_samples} "
            "own images to compare by; give at least 1 of each"
        )
    if design.alterations and generator.makes_numbers:
        raise InputError("alterations are for images, and this model makes rows; leave them out")
    for name, config in configs.items():
        find_method(name).settings(config, numbers=generator.makes_numbers)
    # A rival's image that a fit may see would flatter every method that learns.
    refuse_shared(others, rivals, generator.image_shape, whose="the others of the fit")
    rows, altered = [], []
    for name, config in configs.items():
        fit_method = partial(
            fit, generator, others, method=name, config=config, track=track, device=device
        )
        runs = []
        repetitions = range(design.repetitions)
        label = f"fitting and evaluating {name}"
        for number in track(repetitions, label, total=design.repetitions):
            seeds = partial(derive_seed, seed, "comparison", number)
            images = _TestImages(generator, design, rivals, seeds)
            runs.append(_repeat(partial(fit_method, seed=seeds()), images, track))
        rows.append(
            MethodRow(
                **_measured(name, [run.clean for run in runs]),
                fit_seconds=Series(tuple(run.fit_seconds for run in runs)),
                score_seconds=Series(tuple(run.score_seconds for run in runs)),
                config=config,
            )
        )
        for index, alteration in enumerate(design.alterations):
            outcomes = [run.altered[index] for run in runs]
            altered.append(AlteredRow(**_measured(name, outcomes), alteration=str(alteration)))
    return ComparisonResult(
        rows=tuple(rows),
        altered=tuple(altered),
        sources={name: len(images) for name, images in rivals.items()},
        own_samples=design.own_samples,
        repetitions=design.repetitions,
        seed=seed,
        generator=generator.describe(),
    )


@dataclass(frozen=True, eq=False)
class _TestImages:
    """What one repetition judges; `seeds`: the role of samples in it -> their seed."""

    generator: Generator
    design: ComparisonDesign
    rivals: Mapping[str, Tensor]
    seeds: Callable[..., int]

    def own(self, count: int, role: str) -> Tensor:
        """Own images of this repetition for `role`, as stored."""
        return stored_samples(self.generator, count, self.seeds(role))


@dataclass(frozen=True)
class _Repetition:
    clean: AlteredOutcome
    altered: tuple[AlteredOutcome, ...]
    fit_seconds: float
    score_seconds: float


def _repeat(fit_method: Callable[[], Attributor], images: _TestImages, track: Track) -> _Repetition:
    start = time.perf_counter()
    fitted = fit_method()
    between = time.perf_counter()
    own = images.own(images.design.own_samples, "test")
    result = evaluate(fitted, own, images.rivals, track=track)
    count = len(own) + sum(map(len, images.rivals.values()))
    spent = (time.perf_counter() - between) * 1000 / count
    clean = AlteredOutcome(
        result.own.rejected,
        {row.source: row.accuracy for row in result.others},
        {row.source: float("nan") if row.auroc is None else row.auroc for row in result.others},
    )
    alterations = images.design.alterations
    if not alterations:
        return _Repetition(clean, (), between - start, spent)
    judge = partial(
        judge_altered,
        held=images.own(fitted.config.calibration_samples, "held"),
        own=own,
        sources={
            name: as_stored(rival, fitted.image_shape) for name, rival in images.rivals.items()
        },
        rate=fitted.config.false_negative_rate,
        seed=images.seeds("altered"),
    )
    altered = tuple(
        judge(partial(fitted.score, condition=condition_after(alteration)), alteration)
        for alteration in track(alterations, "scoring altered images", total=len(alterations))
    )
    return _Repetition(clean, altered, between - start, spent)


def _measured(name: str, outcomes: list[AlteredOutcome]) -> dict[str, Any]:
    """The fields of `Measured` over the repetitions."""

    def by_source(measure: str) -> dict[str, Series]:
        values = [getattr(outcome, measure) for outcome in outcomes]
        return {source: Series(tuple(each[source] for each in values)) for source in values[0]}

    def mean(measure: str) -> Series:
        means = (finite_mean([*getattr(outcome, measure).values()]) for outcome in outcomes)
        return Series(tuple(means))

    return {
        "method": name,
        "title": find_method(name).title,
        "accuracy": by_source("accuracy"),
        "auroc": by_source("auroc"),
        "mean_accuracy": mean("accuracy"),
        "mean_auroc": mean("auroc"),
        "own_rejected": Series(tuple(outcome.own_rejected for outcome in outcomes)),
    }
