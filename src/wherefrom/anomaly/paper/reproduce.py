"""The paper's tables on the user's own images: Tab. B.1, and the t-tests of Tab. C.1 and E.1.

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

from wherefrom.anomaly.comparison.generators import anomaly_score
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
from wherefrom.encoders.features import FeatureEncoder


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
            agreement, unmatched = _agreement(human, real_scores, scored, seed, track)
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
    track: Track,
) -> tuple[tuple[Correlation, ...], int]:
    """Correlations of AS and of the scores per image with people's guesses; images without any."""
    size = min(map(len, generated.values()))
    rows = []
    if len(generated) >= MIN_PAIRS:
        score = partial(anomaly_score, real, seed=seed, equal_size=size, track=track)
        distances = {
            name: score(scores, name=name).as_at_equal_size for name, scores in generated.items()
        }
        rows.append(agreement_of_generators(human, distances))
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
