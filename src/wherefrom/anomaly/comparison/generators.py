"""Comparison of generators with real images: AS, its uncertainty, and the order of generators.

Hwang, Lee, Lee: Anomaly Score: Evaluating Generative Models and Individual Generated Images based
on Complexity and Vulnerability, CVPR 2024.

    AS = sup | CDF of the real anomaly vectors - CDF of the generated ones |

with anomaly vectors [C(x), V(x)] and the two-dimensional KS distance of `metrics.ks2d`.

Deviation: the public code asks for equally many real and generated images; the distance needs no
such thing, but it is larger for smaller sets, so its level without any difference stands beside it,
and generators are compared at the size of the smallest.
Deviation: the p-value is that of permuted labels; the analytic one of the public code is too small
too often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherefrom.anomaly.comparison.frechet_order import FrechetOrder, order_by_frechet
from wherefrom.anomaly.comparison.means import MeanTest, mean_test
from wherefrom.anomaly.comparison.ranking import Ranking, rank
from wherefrom.anomaly.result import ImageScores
from wherefrom.calibration.family import holm_adjusted
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.inception_score import inception_score
from wherefrom.metrics.feature_sets.kernel_distance import kernel_distance
from wherefrom.metrics.feature_sets.neighbours import manifold_metrics, realism
from wherefrom.metrics.ks2d import Reals
from wherefrom.metrics.ks2d_inference import (
    PermutationTest,
    distance_at,
    distances_without_difference,
    equal_distance_p_value,
    interval,
    permutation_test,
)

MIN_IMAGES = 10  # per set; with fewer, no permutation test gives a small p-value


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(Config):
    """Settings of `anomaly_score` and `compare_generators`."""

    draws: int = setting(999, "permutations and resamples behind each p-value", low=19)
    error_rate: float = setting(
        0.05, "chance of telling apart what is equal, over all pairs", low=1e-6, high=0.5
    )
    neighbours: int = setting(
        5, "k of precision, recall, density, coverage and realism", source="Naeem et al.", low=1
    )


@dataclass(frozen=True)
class FeatureMetrics:
    """Other metrics with the same features; each is described in `wherefrom.metrics`."""

    frechet_distance: float
    kernel_distance: float
    precision: float
    recall: float
    density: float
    coverage: float
    realism: float  # the median over the generated images
    inception_score: float | None  # None: the encoder has no classes

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


@dataclass(frozen=True)
class GeneratorScore:
    """How far one set of generated images is from the real ones.  Larger AS = further.

    `test`: AS with its permutation p-value.  `p_together`: the same adjusted for the number of
    generators in the comparison (Holm): at 0.05, the chance that any generator which is like
    the real images is called different is at most 0.05 in all.
    `low`, `high`: the 95 % interval of AS at this size.
    `baseline`, `baseline_high`: mean and 95 % point of AS between two sets of these sizes that are
    both real.  `as_at_equal_size`: AS at the size of the smallest set of the comparison.
    `left_out`: images without a C or a V.  AS has no direction: an AS with `complexity` or
    `vulnerability` on the unexpected side may mean images that are too smooth, not too strange.
    """

    name: str
    count: int
    left_out: int
    test: PermutationTest
    p_together: float
    low: float
    high: float
    baseline: float
    baseline_high: float
    as_at_equal_size: float
    complexity: MeanTest
    vulnerability: MeanTest
    metrics: FeatureMetrics

    @property
    def anomaly_score(self) -> float:
        """AS, in [0, 1]."""
        return self.test.distance

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "count": self.count,
            "left_out": self.left_out,
            "anomaly_score": self.anomaly_score,
            "p_value": self.test.p_value,
            "p_value_together": self.p_together,
            "draws": self.test.draws,
            "low": self.low,
            "high": self.high,
            "baseline": self.baseline,
            "baseline_high": self.baseline_high,
            "anomaly_score_at_equal_size": self.as_at_equal_size,
            "complexity": self.complexity.to_dict(),
            "vulnerability": self.vulnerability.to_dict(),
            "metrics": self.metrics.to_dict(),
        }


@dataclass(frozen=True)
class Comparison(AsTable):
    """All generators of an audit, nearest to the real images first, by Frechet distance.

    `frechet`: that order, as far as it can be told.  `ranking`: the same by AS, for which
    `equal_size` images of each generator are compared.
    """

    real_count: int
    generators: tuple[GeneratorScore, ...]
    frechet: FrechetOrder
    ranking: Ranking
    equal_size: int
    config: ComparisonConfig

    def to_dict(self) -> dict[str, Any]:
        return {
            "real_count": self.real_count,
            "generators": [row.to_dict() for row in self.generators],
            "frechet": self.frechet.to_dict(),
            "ranking": self.ranking.to_dict(),
            "equal_size": self.equal_size,
            "config": self.config.to_dict(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row per generator: possible ranks, AS with its interval and p-values, other metrics."""
        return [
            {
                "generator": row.name,
                "rank": self.frechet.ranking.show_ranks(row.name),
                "group": self.frechet.ranking.group_letters(row.name),
                "images": row.count,
                "frechet_distance_at_equal_size": self.frechet.distances[row.name],
                "rank_by_as": self.ranking.show_ranks(row.name),
                "group_by_as": self.ranking.group_letters(row.name),
                "anomaly_score": row.anomaly_score,
                "low": row.low,
                "high": row.high,
                "p_value": row.test.p_value,
                "p_value_together": row.p_together,
                "baseline": row.baseline,
                "anomaly_score_at_equal_size": row.as_at_equal_size,
                "complexity": row.complexity.generated,
                "vulnerability": row.vulnerability.generated,
                **row.metrics.to_dict(),
                "left_out": row.left_out,
            }
            for row in self.generators
        ]

    def as_table(self) -> tuple[Rows, str]:
        return self.rows(), "Generators, nearest to the real images first"


def anomaly_score(
    real: ImageScores,
    generated: ImageScores,
    *,
    name: str = "generated",
    config: ComparisonConfig | None = None,
    seed: int = 0,
    equal_size: int | None = None,
    logits: Tensor | None = None,
    track: Track = quiet,
) -> GeneratorScore:
    """AS of one set of generated images, with its p-value, interval and level without difference.

    `logits` (M, K) of the generated images give the Inception Score.  Sets scored by different
    encoders or settings, or of fewer than `MIN_IMAGES` images, are an `InputError`.
    """
    chosen = config or ComparisonConfig()
    require_comparable(real, generated)
    first, second = comparison_points(real, "real"), comparison_points(generated, name)
    draws = chosen.draws
    null = distances_without_difference(
        first, len(first), len(second), draws=draws, seed=seed, track=track
    )
    low, high = interval(first, second, draws=draws, seed=seed, track=track)
    test = permutation_test(first, second, draws=draws, seed=seed, track=track)
    return GeneratorScore(
        name=name,
        count=len(generated),
        left_out=len(generated) - len(second),
        test=test,
        p_together=test.p_value,  # one generator; `compare_generators` adjusts several
        low=low,
        high=high,
        baseline=float(null.mean()),
        baseline_high=float(np.quantile(null, 0.95)),
        as_at_equal_size=distance_at(first, second, equal_size or len(second), seed=seed),
        complexity=mean_test(real.complexity, generated.complexity, expected="smaller"),
        vulnerability=mean_test(real.vulnerability, generated.vulnerability, expected="larger"),
        metrics=_feature_metrics(real.features, generated.features, chosen.neighbours, logits),
    )


def compare_generators(
    real: ImageScores,
    generated: Mapping[str, ImageScores],
    *,
    config: ComparisonConfig | None = None,
    seed: int = 0,
    logits: Mapping[str, Tensor] | None = None,
    frechet: FrechetOrder | None = None,
    track: Track = quiet,
) -> Comparison:
    """AS of every generator, and an order among them only as far as the data can tell.

    `frechet`: the order by Frechet distance, if it is known already.

    The p-values against the real images are adjusted for the number of generators, and those of
    pairs for the number of pairs (Holm).  No generator, a set of fewer than `MIN_IMAGES` images, or
    scores made with another encoder or other settings are an `InputError`.
    """
    chosen = config or ComparisonConfig()
    if not generated:
        raise InputError("no generated images were given; give at least one folder of them")
    vectors = {name: comparison_points(scores, name) for name, scores in generated.items()}
    size = min(map(len, vectors.values()))
    rows = [
        anomaly_score(
            real,
            scores,
            name=name,
            config=chosen,
            seed=seed,
            equal_size=size,
            logits=None if logits is None else logits.get(name),
            track=track,
        )
        for name, scores in generated.items()
    ]
    together = holm_adjusted([row.test.p_value for row in rows]).tolist()
    rows = [replace(row, p_together=p) for row, p in zip(rows, together, strict=True)]
    rows.sort(key=lambda row: (row.as_at_equal_size, row.name))
    points = comparison_points(real, "real")
    vectors = {row.name: vectors[row.name] for row in rows}
    pairs = compare_pairs(points, vectors, draws=chosen.draws, seed=seed, track=track)
    if frechet is None:
        frechet = order_by_frechet(
            real, generated, error_rate=chosen.error_rate, seed=seed, track=track
        )
    by_name = {row.name: row for row in rows}
    return Comparison(
        real_count=len(real),
        generators=tuple(by_name[name] for name in frechet.ranking.names),
        frechet=frechet,
        ranking=rank([row.name for row in rows], pairs, chosen.error_rate),
        equal_size=size,
        config=chosen,
    )


def comparison_points(scores: ImageScores, whose: str) -> Reals:
    """A = [C, V], (n, 2) float64, without the images that lack either."""
    both = torch.stack([scores.complexity, scores.vulnerability], dim=1).double().cpu()
    points: Reals = both[torch.isfinite(both).all(dim=1)].numpy()
    if len(points) < MIN_IMAGES:
        raise InputError(
            f"{whose}: {len(points)} images have a complexity and a vulnerability, the anomaly "
            f"score needs at least {MIN_IMAGES}"
        )
    return points


def require_comparable(real: ImageScores, generated: ImageScores) -> None:
    """An `InputError` if the two were not scored alike."""
    real.encoder.require_same(generated.encoder, what="the scores of the real images")
    if real.config != generated.config:
        raise InputError("the real and the generated images were scored with different settings")


def compare_pairs(
    real: Reals,
    generated: Mapping[str, Reals],
    *,
    draws: int,
    seed: int = 0,
    track: Track = quiet,
) -> dict[tuple[str, str], float]:
    """P-value of each pair of generators, adjusted for the number of pairs (Holm).

    `generated`: the points A = [C, V], (n, 2) float64, of each generator, the nearest to the points
    of the real images first; `draws` of the bootstrap.
    """
    names = list(generated)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    p_values = [
        equal_distance_p_value(
            real, generated[a], generated[b], draws=draws, seed=seed, track=track
        )
        for a, b in track(pairs, "comparing generators", total=len(pairs))
    ]
    return dict(zip(pairs, holm_adjusted(p_values).tolist(), strict=True))


def _feature_metrics(
    real: Tensor, generated: Tensor, neighbours: int, logits: Tensor | None
) -> FeatureMetrics:
    manifold = manifold_metrics(real, generated, neighbours=neighbours)
    return FeatureMetrics(
        frechet_distance=frechet_distance(real, generated),
        kernel_distance=kernel_distance(real, generated),
        precision=manifold.precision,
        recall=manifold.recall,
        density=manifold.density,
        coverage=manifold.coverage,
        realism=float(realism(real, generated, neighbours=neighbours).median()),
        inception_score=None if logits is None else inception_score(logits),
    )
