"""The paper's tables on the user's own images: Tab. B.1, and the t-tests of Tab. C.1 and E.1.

With people's guesses: how AS, the other distances and single images agree with them.

Hwang, Lee, Lee: Anomaly Score, CVPR 2024, Supplement.  The paper's images and weights were not
available, so the published figures stand beside the measured ones without any claim of equality.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from wherefrom.anomaly.comparison.generators import comparison_points
from wherefrom.anomaly.comparison.means import MeanTest, mean_test
from wherefrom.anomaly.config import PRESETS, AnomalyConfig
from wherefrom.anomaly.measuring.cache import Cache, MemoryCache
from wherefrom.anomaly.measuring.items import Paths, as_paths
from wherefrom.anomaly.measuring.scoring import score_files
from wherefrom.anomaly.paper.human import (
    MIN_PAIRS,
    Correlation,
    HumanTable,
    agreement_of_generators,
    agreement_of_images,
)
from wherefrom.anomaly.result import ImageScores
from wherefrom.core.progress import Track, quiet
from wherefrom.data.splits import sample_indices
from wherefrom.encoders.features import FeatureEncoder
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.kernel_distance import kernel_distance
from wherefrom.metrics.ks2d_inference import distance_at


@dataclass(frozen=True)
class GridSetting:
    """A row of Tab. B.1 and its published means: C real, C generated, V real, V generated."""

    step: float  # epsilon and alpha
    count: int  # K and J
    published: tuple[float, float, float, float]


# Tab. B.1: ConvNeXt, CIFAR10 and PFGM++.
GRID = (
    GridSetting(0.05, 10, (0.184, 0.181, 35.97, 36.19)),
    GridSetting(0.01, 10, (0.099, 0.098, 14.57, 15.24)),
    GridSetting(0.005, 10, (0.080, 0.076, 7.77, 7.95)),
    GridSetting(0.01, 5, (0.098, 0.069, 7.24, 7.45)),
)
USUAL = 1  # the row of the paper's own settings


@dataclass(frozen=True)
class PublishedTest:
    """Means of C and V in the paper, and the p-values of their t-tests.

    A p-value is `< 0.0001` or such, as printed; `-` where the means lie the other way round, which
    the paper's one-tailed tables do not test.
    """

    table: str
    data: str
    generator: str
    network: str
    complexity: tuple[float, float]  # real, generated
    complexity_p: str
    vulnerability: tuple[float, float]
    vulnerability_p: str

    @property
    def two_tailed(self) -> bool:
        return self.table == "C.1"


TINY = "< 0.0001"
PFGM, RQ, INSGEN = "PFGM++", "RQ Transformer", "InsGen"
PUBLISHED_TESTS = tuple(
    PublishedTest(*row)
    for row in (
        ("C.1", "FFHQ", INSGEN, "ViT-S", (0.0643, 0.0638), "0.4990", (18.30, 19.22), TINY),
        ("C.1", "FFHQ", INSGEN, "ConvNeXt-tiny", (0.0627, 0.0525), TINY, (14.57, 17.21), TINY),
        ("C.1", "FFHQ", INSGEN, "DINO-V2", (0.0311, 0.0302), TINY, (12.90, 16.34), TINY),
        ("E.1", "CIFAR10", PFGM, "ResNet50", (0.1900, 0.1921), "-", (44.59, 44.31), "-"),
        ("E.1", "CIFAR10", PFGM, "CLIP", (1.9246, 1.9234), "0.0853", (6.67, 6.69), "< 0.05"),
        ("E.1", "CIFAR10", PFGM, "DINO", (0.0647, 0.0626), TINY, (37.40, 35.56), "-"),
        ("E.1", "ImageNet", RQ, "ResNet50", (0.1170, 0.1190), "-", (32.18, 35.58), TINY),
        ("E.1", "ImageNet", RQ, "CLIP", (1.9543, 1.9366), TINY, (4.54, 5.12), TINY),
        ("E.1", "ImageNet", RQ, "DINO", (0.0326, 0.0331), "-", (9.27, 11.98), TINY),
        ("E.1", "FFHQ", INSGEN, "ResNet50", (0.1273, 0.1233), TINY, (30.22, 30.85), TINY),
        ("E.1", "FFHQ", INSGEN, "CLIP", (1.9899, 1.9893), "0.1489", (4.52, 4.39), "-"),
        ("E.1", "FFHQ", INSGEN, "DINO", (0.0424, 0.0352), TINY, (13.9, 12.57), "-"),
    )
)
# Scores per image, each turned so that larger is meant to be less natural.
COLUMNS: dict[str, Callable[[ImageScores], Tensor]] = {
    "AS-i": lambda scores: scores.as_i,
    "vulnerability": lambda scores: scores.vulnerability,
    "minus complexity": lambda scores: -scores.complexity,
}


@dataclass(frozen=True)
class ReproducedRow:
    """Means of C and V for one generator at one setting, with the tests between them."""

    generator: str
    step: float
    count: int
    complexity: MeanTest
    vulnerability: MeanTest
    published: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "epsilon_and_alpha": self.step,
            "K_and_J": self.count,
            "complexity": self.complexity.to_dict(),
            "vulnerability": self.vulnerability.to_dict(),
            "published_B1": list(self.published),
        }


@dataclass(frozen=True)
class Reproduction:
    """`grid`: Tab. B.1; its rows at the paper's settings are the t-tests of Tab. C.1 and E.1.

    `agreement`: with people, where a table was given; `unmatched`: images without guesses in it.
    """

    grid: tuple[ReproducedRow, ...]
    agreement: tuple[Correlation, ...]
    unmatched: int
    encoder: Mapping[str, Any]
    config: AnomalyConfig

    @property
    def tests(self) -> tuple[ReproducedRow, ...]:
        """The rows at the paper's own settings."""
        usual = GRID[USUAL]
        return tuple(r for r in self.grid if (r.step, r.count) == (usual.step, usual.count))

    def to_dict(self) -> dict[str, Any]:
        return {
            "grid": [row.to_dict() for row in self.grid],
            "agreement": [row.to_dict() for row in self.agreement],
            "unmatched": self.unmatched,
            "encoder": dict(self.encoder),
            "config": self.config.to_dict(),
        }


def reproduce(
    generators: Mapping[str, Paths],
    real: Paths,
    encoder: FeatureEncoder,
    *,
    config: AnomalyConfig = PRESETS["paper"],
    human: HumanTable | None = None,
    seed: int = 0,
    cache: Cache | None = None,
    track: Track = quiet,
) -> Reproduction:
    """Measure the grid of Tab. B.1, and with `human` the agreement with people.

    `config` gives what the grid does not vary.  With a table, `generators` must be named as the
    models there.
    """
    store = MemoryCache() if cache is None else cache
    rows = []
    agreement: tuple[Correlation, ...] = ()
    unmatched = 0
    for place, setting in enumerate(GRID):
        at = dataclasses.replace(
            config,
            epsilon=setting.step,
            alpha=setting.step,
            steps=setting.count,
            attack_steps=setting.count,
        )
        score = partial(
            score_files, encoder=encoder, config=at, seed=seed, cache=store, track=track
        )
        real_scores = score(as_paths(real))
        scored = {name: score(as_paths(paths)) for name, paths in generators.items()}
        rows += [_row(name, setting, real_scores, scores) for name, scores in scored.items()]
        if place == USUAL and human is not None:
            agreement, unmatched = _agreement(human, real_scores, scored, seed)
    return Reproduction(tuple(rows), agreement, unmatched, encoder.identity.to_dict(), config)


def _row(
    name: str, setting: GridSetting, real: ImageScores, generated: ImageScores
) -> ReproducedRow:
    return ReproducedRow(
        generator=name,
        step=setting.step,
        count=setting.count,
        complexity=mean_test(real.complexity, generated.complexity, expected="smaller"),
        vulnerability=mean_test(real.vulnerability, generated.vulnerability, expected="larger"),
        published=setting.published,
    )


def _agreement(
    human: HumanTable,
    real: ImageScores,
    generated: Mapping[str, ImageScores],
    seed: int,
) -> tuple[tuple[Correlation, ...], int]:
    """Correlations of generators and of single images with people's guesses; images without any."""
    rows = []
    if len(generated) >= MIN_PAIRS:
        distances = distances_to_real(real, generated, seed=seed)
        rows += [agreement_of_generators(human, row, what=what) for what, row in distances.items()]
    unmatched = 0
    for what, column in COLUMNS.items():
        values = {
            name: (scores.names, np.asarray(column(scores), dtype=np.float64))
            for name, scores in generated.items()
        }
        correlation, unmatched = agreement_of_images(
            human, values, what=f"{what} against the share that said generated"
        )
        rows.append(correlation)
    return tuple(rows), unmatched


def distances_to_real(
    real: ImageScores, generated: Mapping[str, ImageScores], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """By measure, how far each generator is from the real images, at one number of images.

    The Frechet and kernel distances stand beside AS in Fig. E.2 and F.1, the mean AS-i in Fig. G.1.
    """
    first = comparison_points(real, "real")
    points = {name: comparison_points(scores, name) for name, scores in generated.items()}
    size = min(map(len, points.values()))
    values: dict[str, dict[str, float]] = {what: {} for what in ("AS", "FD", "KD", "mean AS-i")}
    for name, scores in generated.items():
        part = scores.select(sample_indices(scores.digests, size, seed=seed))
        values["AS"][name] = distance_at(first, points[name], size, seed=seed)
        values["FD"][name] = frechet_distance(real.features, part.features)
        values["KD"][name] = kernel_distance(real.features, part.features)
        values["mean AS-i"][name] = float(part.as_i[part.as_i.isfinite()].mean())
    return values
