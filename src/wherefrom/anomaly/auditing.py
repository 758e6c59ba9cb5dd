"""The audit: generators compared with real images, every image ranked, the worst ones explained.

All real images are the sample with which generators are compared.  The held-out part of them is the
calibration among which single images are ranked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from wherefrom.anomaly.calibration.assumption import AssumptionConfig
from wherefrom.anomaly.calibration.fitted import AnomalyCalibration
from wherefrom.anomaly.calibration.judgement import FalseAlarms, ImageJudgement
from wherefrom.anomaly.comparison.frechet_order import FrechetOrder, order_by_frechet
from wherefrom.anomaly.comparison.generators import (
    MIN_IMAGES,
    Comparison,
    ComparisonConfig,
    compare_generators,
)
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.equations import anomaly_vectors
from wherefrom.anomaly.localisation.heat_maps import Localisation, LocalisationConfig, explain
from wherefrom.anomaly.localisation.pictures import overlay
from wherefrom.anomaly.localisation.segments import need_slic
from wherefrom.anomaly.measuring.cache import Cache, MemoryCache
from wherefrom.anomaly.measuring.items import Paths, as_paths, load_image
from wherefrom.anomaly.measuring.scoring import require_gradients, score_files
from wherefrom.anomaly.method import calibrate
from wherefrom.anomaly.result import ImageScores
from wherefrom.calibration.conformal import needed_samples
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.folders import list_images
from wherefrom.data.images.notebook import rows_as_frame, rows_as_html
from wherefrom.encoders import load_feature_encoder
from wherefrom.encoders.features import FeatureEncoder
from wherefrom.metrics.feature_sets.neighbours import nearest_distances, realism


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Config):
    """Settings of `audit`."""

    scores: AnomalyConfig = setting(AnomalyConfig(), "complexity and vulnerability")
    comparison: ComparisonConfig = setting(ComparisonConfig(), "generators against real images")
    assumption: AssumptionConfig = setting(AssumptionConfig(), "whether AS-i points the right way")
    localisation: LocalisationConfig = setting(LocalisationConfig(), "heat maps")
    false_alarms: float = setting(
        0.01, "share of real images that are flagged, at most", low=1e-9, high=0.5
    )
    heat_maps: int = setting(12, "worst images whose heat maps are made", low=0)


@dataclass(frozen=True)
class AuditedImage:
    """One generated image.  `rank` 1 is the least like the real images.

    `realism` and `distance` rest on features: the realism score of Kynkaanniemi et al., and the
    mean distance to the nearest real images.
    """

    rank: int
    generator: str
    judgement: ImageJudgement
    realism: float
    distance: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "generator": self.generator,
            **self.judgement.to_dict(),
            "realism": self.realism,
            "distance_to_real": self.distance,
        }


@dataclass(frozen=True, eq=False)
class HeatMap:
    """The heat map of one image's vulnerability; `picture` is uint8 (3, S, S)."""

    name: str
    localisation: Localisation
    picture: Tensor


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of `audit`: the comparison of generators, and every image's judgement."""

    comparison: Comparison
    images: tuple[AuditedImage, ...]  # worst first
    flags: Mapping[str, FalseAlarms]  # by generator
    heat_maps: tuple[HeatMap, ...]
    skipped: Mapping[str, tuple[SkippedFile, ...]]  # by generator, and "real"
    calibration: AnomalyCalibration
    real: ImageScores
    generated: Mapping[str, ImageScores]
    config: AuditConfig

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before the figures, the most important first."""
        warnings = []
        check, numerics = self.calibration.check, self.calibration.provenance["numerics"]
        if check is not None and check.verdict != "holds":
            warnings.append(check.message)
        if numerics["is_noise"]:
            warnings.append(f"WARNING: {numerics['message']}")
        return tuple(warnings)

    def to_dict(self) -> dict[str, Any]:
        return {
            "comparison": self.comparison.to_dict(),
            "images": [image.to_dict() for image in self.images],
            "flags": {
                name: {"flagged": f.flagged, "images": f.images, "expected": f.expected}
                for name, f in self.flags.items()
            },
            "heat_maps": [{"name": m.name, **m.localisation.to_dict()} for m in self.heat_maps],
            "skipped": {
                name: [file.to_dict() for file in files] for name, files in self.skipped.items()
            },
            "warnings": list(self.warnings),
            "calibration": self.calibration.describe(),
            "config": self.config.to_dict(),
        }

    def to_dataframe(self) -> Any:
        """A pandas data frame with a row per generated image, worst first."""
        return rows_as_frame([image.to_dict() for image in self.images])

    def _repr_html_(self) -> str:
        rows = [image.to_dict() for image in self.images]
        images = rows_as_html(rows, caption="Generated images, worst first", image="name")
        return self.comparison._repr_html_() + images


def audit(
    generators: Mapping[str, Paths],
    real: Paths,
    encoder: FeatureEncoder | None = None,
    *,
    config: AuditConfig | None = None,
    seed: int = 0,
    cache: Cache | None = None,
    first: Callable[[FrechetOrder], None] | None = None,
    track: Track = quiet,
) -> Audit:
    """Compare generators with real images, and rank every generated image among real ones.

    `generators` maps names to files and folders.  `encoder`: default EfficientNet-Lite0.  Too few
    images for the settings are refused before any image is scored.  With a `cache` only images
    whose content is new are measured.  `first` is given the order by Frechet distance, which is
    known long before C and V.
    """
    chosen, store = config or AuditConfig(), MemoryCache() if cache is None else cache
    encoder = load_feature_encoder() if encoder is None else encoder
    require_enough(generators, real, encoder, chosen)
    frechet = _first_order(generators, real, encoder, chosen, seed, store, track)
    if first is not None:
        first(frechet)
    calibration, real_scores = calibrate(
        real,
        encoder,
        config=chosen.scores,
        assumption=chosen.assumption,
        seed=seed,
        cache=store,
        track=track,
    )
    scored = partial(
        score_files, encoder=encoder, config=chosen.scores, seed=seed, cache=store, track=track
    )
    generated = {name: scored(as_paths(paths)) for name, paths in generators.items()}
    logits = {name: encoder.logits(scores.features) for name, scores in generated.items()}
    comparison = compare_generators(
        real_scores,
        generated,
        config=chosen.comparison,
        seed=seed,
        logits={name: rows for name, rows in logits.items() if rows is not None},
        frechet=frechet,
        track=track,
    )
    judgements = {
        name: calibration.judge(scores, false_alarms=chosen.false_alarms)
        for name, scores in generated.items()
    }
    images = _worst_first(
        calibration, real_scores, generated, judgements, chosen.comparison.neighbours
    )
    return Audit(
        comparison=comparison,
        images=images,
        flags={n: calibration.rate(rows, chosen.false_alarms) for n, rows in judgements.items()},
        heat_maps=_heat_maps(images[: chosen.heat_maps], encoder, chosen, seed, track),
        skipped={"real": real_scores.skipped} | {name: s.skipped for name, s in generated.items()},
        calibration=calibration,
        real=real_scores,
        generated=generated,
        config=chosen,
    )


def _first_order(
    generators: Mapping[str, Paths],
    real: Paths,
    encoder: FeatureEncoder,
    config: AuditConfig,
    seed: int,
    cache: Cache,
    track: Track,
) -> FrechetOrder:
    """The order by Frechet distance, from one forward pass per image."""
    features_only = dataclasses.replace(config.scores, directions=0, restarts=0)
    score = partial(
        score_files, encoder=encoder, config=features_only, seed=seed, cache=cache, track=track
    )
    return order_by_frechet(
        score(as_paths(real)),
        {name: score(as_paths(paths)) for name, paths in generators.items()},
        error_rate=config.comparison.error_rate,
        seed=seed,
        track=track,
    )


def _worst_first(
    calibration: AnomalyCalibration,
    real: ImageScores,
    generated: Mapping[str, ImageScores],
    judgements: Mapping[str, list[ImageJudgement]],
    neighbours: int,
) -> tuple[AuditedImage, ...]:
    """All images by p-value, then by the score behind it (p-values come in steps), then by name."""
    rows, behind = [], []
    for name, scores in generated.items():
        points = anomaly_vectors(scores.complexity, scores.vulnerability)
        behind += calibration.scores(points)[calibration.decides].tolist()
        near = realism(real.features, scores.features, neighbours=neighbours).tolist()
        apart = nearest_distances(real.features, scores.features, neighbours=neighbours).tolist()
        rows += [(name, *row) for row in zip(judgements[name], near, apart, strict=True)]
    order = sorted(
        range(len(rows)), key=lambda i: (rows[i][1].p_value, -behind[i], rows[i][1].name)
    )
    return tuple(AuditedImage(rank, *rows[i]) for rank, i in enumerate(order, start=1))


def _heat_maps(
    worst: Sequence[AuditedImage],
    encoder: FeatureEncoder,
    config: AuditConfig,
    seed: int,
    track: Track,
) -> tuple[HeatMap, ...]:
    heat_maps = []
    for row in track(worst, "explaining the worst images", total=len(worst)):
        name = row.judgement.name
        image = load_image(Path(name), encoder.resolution)
        parts = explain(
            image, encoder, config=config.scores, localisation=config.localisation, seed=seed
        )
        heat_maps.append(HeatMap(name, parts, overlay(image, parts)))
    return tuple(heat_maps)


def require_enough(
    generators: Mapping[str, Paths], real: Paths, encoder: FeatureEncoder, config: AuditConfig
) -> None:
    """An `InputError` if the images are too few for the settings; files are counted, not read."""
    require_gradients(encoder, config.scores)
    if not (config.scores.directions and config.scores.restarts):
        raise InputError("an audit needs complexity and vulnerability; use 1 restart or more")
    if config.heat_maps and config.localisation.segmentation == "slic":
        need_slic()
    if not generators:
        raise InputError("no generated images were given; give at least one folder of them")
    rate = config.false_alarms
    held = needed_samples(rate, what="false-alarm rate")
    fewest = max(MIN_IMAGES, config.comparison.neighbours + 1)
    needed = max(fewest, -(-held * 3 // 2))
    count = len(list_images(as_paths(real), once=True))
    if count < needed:
        raise InputError(
            f"there are {count} real images, but a false-alarm rate of {rate:g} needs at least "
            f"{needed}; give more, or a rate of at least {1 / (1 + max(1, count * 2 // 3)):.2g}"
        )
    for name, paths in generators.items():
        if (count := len(list_images(as_paths(paths), once=True))) < fewest:
            raise InputError(f"{name}: {count} images, a comparison needs at least {fewest}")
