"""One call for a person's three questions: which generator is best, which images are broken, where.

The real images serve twice: as the sample that generators are compared with (all of them), and as
the yardstick of single images (the held-out part of the calibration).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from wherefrom.anomaly.calibration.assumption import AssumptionConfig
from wherefrom.anomaly.calibration.fitted import Calibration
from wherefrom.anomaly.calibration.judgement import FalseAlarms, ImageJudgement
from wherefrom.anomaly.comparison.generators import (
    FEWEST,
    Comparison,
    ComparisonConfig,
    compare_generators,
)
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.equations import anomaly_vectors
from wherefrom.anomaly.localisation.heat_maps import Localisation, LocalisationConfig, explain
from wherefrom.anomaly.localisation.segments import overlay
from wherefrom.anomaly.measuring.cache import Cache, MemoryCache
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.measuring.scoring import require_gradients, score_files
from wherefrom.anomaly.method import calibrate
from wherefrom.anomaly.result import ImageScores
from wherefrom.calibration.conformal import needed_samples
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.folders import list_images
from wherefrom.encoders.features import FeatureEncoder
from wherefrom.metrics.neighbours import nearest_distances, realism


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Config):
    """Settings of `audit`."""

    scores: AnomalyConfig = setting(AnomalyConfig(), "complexity and vulnerability")
    comparison: ComparisonConfig = setting(ComparisonConfig(), "generators against real images")
    assumption: AssumptionConfig = setting(AssumptionConfig(), "does AS-i point the right way")
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
        """JSON values."""
        return {
            "rank": self.rank,
            "generator": self.generator,
            **self.judgement.to_dict(),
            "realism": self.realism,
            "distance_to_real": self.distance,
        }


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where an image's vulnerability lies; `picture` is uint8 (3, S, S)."""

    name: str
    localisation: Localisation
    picture: Tensor


@dataclass(frozen=True, eq=False)
class Audit:
    """The answers, and what they rest on."""

    comparison: Comparison
    images: tuple[AuditedImage, ...]  # worst first
    flags: Mapping[str, FalseAlarms]  # by generator
    heat_maps: tuple[HeatMap, ...]
    skipped: Mapping[str, tuple[tuple[str, str], ...]]  # by generator, and "real": name and reason
    calibration: Calibration
    real: ImageScores
    generated: Mapping[str, ImageScores]
    config: AuditConfig

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before the figures, loudest first."""
        found = []
        check, numerics = self.calibration.check, self.calibration.provenance["numerics"]
        if check is not None and check.verdict != "holds":
            found.append(check.message)
        if numerics["is_noise"]:
            found.append(f"WARNING: {numerics['message']}")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "comparison": self.comparison.to_dict(),
            "images": [image.to_dict() for image in self.images],
            "flags": {
                name: {"flagged": f.flagged, "images": f.images, "expected": f.expected}
                for name, f in self.flags.items()
            },
            "heat_maps": [{"name": m.name, **m.localisation.to_dict()} for m in self.heat_maps],
            "skipped": {
                name: [{"name": file, "reason": reason} for file, reason in rows]
                for name, rows in self.skipped.items()
            },
            "warnings": list(self.warnings),
            "calibration": self.calibration.describe(),
            "config": self.config.to_dict(),
        }


def audit(
    reals: Sequence[Path],
    generators: Mapping[str, Sequence[Path]],
    encoder: FeatureEncoder,
    *,
    config: AuditConfig | None = None,
    seed: int = 0,
    cache: Cache | None = None,
    track: Track = quiet,
) -> Audit:
    """Compare generators with real images, and rank every generated image among real ones.

    `generators` maps a name to files and folders.  Too few images for what is asked are refused
    before anything is scored.  With a `cache` a second run scores only what is new.
    """
    chosen, kept = config or AuditConfig(), MemoryCache() if cache is None else cache
    require_enough(reals, generators, encoder, chosen)
    calibration, real = calibrate(
        reals,
        encoder,
        config=chosen.scores,
        assumption=chosen.assumption,
        seed=seed,
        cache=kept,
        track=track,
    )
    generated = {
        name: score_files(paths, encoder, config=chosen.scores, seed=seed, cache=kept, track=track)
        for name, paths in generators.items()
    }
    logits = {name: encoder.logits(scores.features) for name, scores in generated.items()}
    comparison = compare_generators(
        real,
        generated,
        config=chosen.comparison,
        seed=seed,
        logits={name: rows for name, rows in logits.items() if rows is not None},
        track=track,
    )
    judged = {
        name: calibration.judge(scores, false_alarms=chosen.false_alarms)
        for name, scores in generated.items()
    }
    images = _worst_first(calibration, real, generated, judged, chosen.comparison.neighbours)
    return Audit(
        comparison=comparison,
        images=images,
        flags={n: calibration.rate(rows, chosen.false_alarms) for n, rows in judged.items()},
        heat_maps=_heat_maps(images[: chosen.heat_maps], encoder, chosen, seed, track),
        skipped={"real": real.skipped} | {name: s.skipped for name, s in generated.items()},
        calibration=calibration,
        real=real,
        generated=generated,
        config=chosen,
    )


def _worst_first(
    calibration: Calibration,
    real: ImageScores,
    generated: Mapping[str, ImageScores],
    judged: Mapping[str, list[ImageJudgement]],
    neighbours: int,
) -> tuple[AuditedImage, ...]:
    """By p-value; p-values come in steps, so equal ones by the score behind them, then by name."""
    rows, behind = [], []
    for name, scores in generated.items():
        points = anomaly_vectors(scores.complexity, scores.vulnerability)
        behind += calibration.scores(points)[calibration.decides].tolist()
        near = realism(real.features, scores.features, neighbours=neighbours).tolist()
        apart = nearest_distances(real.features, scores.features, neighbours=neighbours).tolist()
        rows += [(name, *row) for row in zip(judged[name], near, apart, strict=True)]
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
    found = []
    for row in track(worst, "explaining the worst images", total=len(worst)):
        name = row.judgement.name
        image = load_image(Path(name), encoder.resolution)
        parts = explain(
            image, encoder, config=config.scores, localisation=config.localisation, seed=seed
        )
        found.append(HeatMap(name, parts, overlay(image, parts)))
    return tuple(found)


def require_enough(
    reals: Sequence[Path],
    generators: Mapping[str, Sequence[Path]],
    encoder: FeatureEncoder,
    config: AuditConfig,
) -> None:
    """`InputError` for what can be refused before the long work; files are counted, not read."""
    require_gradients(encoder, config.scores)
    if not (config.scores.directions and config.scores.restarts):
        raise InputError("an audit needs complexity and vulnerability; use 1 restart or more")
    if config.heat_maps and config.localisation.segmentation == "slic" and not find_spec("skimage"):
        raise MissingExtraError("scikit-image", "anomaly", "segmentation 'slic' of heat maps")
    if not generators:
        raise InputError("no generated images were given; give at least one folder of them")
    rate = config.false_alarms
    held = needed_samples(rate, what="false-alarm rate")
    needed = max(FEWEST, config.comparison.neighbours + 1, -(-held * 3 // 2))
    count = len(list_images(reals, once=True))
    if count < needed:
        raise InputError(
            f"there are {count} real images, but a false-alarm rate of {rate:g} needs at least "
            f"{needed}; give more, or a rate of at least {1 / (1 + max(1, count * 2 // 3)):.2g}"
        )
    fewest = max(FEWEST, config.comparison.neighbours + 1)
    for name, paths in generators.items():
        if (count := len(list_images(paths, once=True))) < fewest:
            raise InputError(f"{name}: {count} images, a comparison needs at least {fewest}")
