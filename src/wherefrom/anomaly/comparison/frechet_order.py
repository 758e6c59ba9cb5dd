"""The order of generators by their Frechet distance from the real images, as far as data tell.

It needs one forward pass per image, where C and V need more than a hundred.  So it is known early,
and it is what an audit orders generators by: of generators whose quality is known, AS did not give
the order and the Frechet distance did (`docs/anomaly-results.md`).

Two generators are told apart by their difference over its standard deviation in a bootstrap of all
images, which both share the real ones of.  The distance of a bootstrap sample is too large, by
nearly as much for either: only the spread is taken from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from wherefrom.anomaly.comparison.ranking import Ranking, rank
from wherefrom.anomaly.result import ImageScores
from wherefrom.calibration.family import holm_adjusted
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.data.splits import sample_indices
from wherefrom.metrics.feature_sets.frechet import frechet_distance

BOOTSTRAP = 50  # draws behind a standard deviation
MIN_IMAGES = 2


@dataclass(frozen=True)
class FrechetOrder:
    """Generators by Frechet distance at `equal_size` images of each, the nearest first."""

    distances: Mapping[str, float]
    ranking: Ranking
    equal_size: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "distances": dict(self.distances),
            "ranking": self.ranking.to_dict(),
            "equal_size": self.equal_size,
        }


def order_by_frechet(
    real: ImageScores,
    generated: Mapping[str, ImageScores],
    *,
    error_rate: float = 0.05,
    seed: int = 0,
    track: Track = quiet,
) -> FrechetOrder:
    """Order generators by the features of their images; C and V are not looked at.

    The p-values of pairs are adjusted for the number of pairs (Holm).  Fewer than 2 images of any
    are an `InputError` that names it.
    """
    for name, scores in {"real": real, **generated}.items():
        if len(scores) < MIN_IMAGES:
            raise InputError(
                f"{name}: {len(scores)} images could be read, the Frechet distance needs at least "
                f"{MIN_IMAGES}"
            )
    size = min(map(len, generated.values()))
    rows = {name: _features(scores, size, seed) for name, scores in generated.items()}
    values = {name: frechet_distance(real.features, features) for name, features in rows.items()}
    names = sorted(values, key=lambda name: (values[name], name))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    p_values = []
    if pairs:
        drawn = _bootstrap(_features(real, len(real), seed), rows, seed, track)
        p_values = [_p_value(values[b] - values[a], drawn[b] - drawn[a]) for a, b in pairs]
    adjusted = dict(zip(pairs, holm_adjusted(p_values).tolist(), strict=True)) if pairs else {}
    return FrechetOrder(
        {name: values[name] for name in names}, rank(names, adjusted, error_rate), size
    )


def _features(scores: ImageScores, count: int, seed: int) -> Tensor:
    """Features of `count` images drawn by their content, in an order that it gives, too."""
    chosen = sample_indices(scores.digests, count, seed=seed)
    return scores.features[sorted(chosen, key=scores.digests.__getitem__)]


def _bootstrap(
    real: Tensor, generated: Mapping[str, Tensor], seed: int, track: Track
) -> dict[str, Tensor]:
    """Distances of bootstrap samples, (BOOTSTRAP,) float64 by generator."""
    drawn: dict[str, list[float]] = {name: [] for name in generated}
    for draw in track(range(BOOTSTRAP), "ordering generators", total=BOOTSTRAP):
        sample = _resampled(real, seed, draw, "")
        for name, rows in generated.items():
            distance = frechet_distance(sample, _resampled(rows, seed, draw, name))
            drawn[name].append(distance)
    return {name: torch.tensor(row, dtype=torch.float64) for name, row in drawn.items()}


def _resampled(rows: Tensor, seed: int, draw: int, whose: str) -> Tensor:
    rng = stream(seed, "frechet order", draw, whose)
    return rows[torch.randint(len(rows), (len(rows),), generator=rng)]


def _p_value(difference: float, drawn: Tensor) -> float:
    """Two-sided, of a difference with the spread of `drawn`."""
    spread = float(drawn.std())
    if spread == 0:
        return 1.0 if difference == 0 else 0.0
    return 2 * NormalDist().cdf(-abs(difference) / spread)
