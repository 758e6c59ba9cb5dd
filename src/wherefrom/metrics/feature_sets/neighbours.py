"""Fidelity and diversity by nearest neighbours, and how realistic one image is.

Kynkaanniemi et al.: Improved Precision and Recall Metric for Assessing Generative Models, NeurIPS
2019 (precision, recall, realism); Naeem et al.: Reliable Fidelity and Diversity Metrics for
Generative Models, ICML 2020 (density, coverage).

Symbols:
    r_k(x)   distance of a row to its k-th nearest other row of the same set, its radius
    B(x)     the closed ball around x with that radius
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from wherefrom.metrics.feature_sets.samples import checked_pair

NEIGHBOURS = 5
ROWS = 1024  # rows of a distance matrix at a time
MAX_REALISM = 1e6  # realism of an image whose features equal those of a real one


@dataclass(frozen=True)
class Manifold:
    """Each in [0, 1] except density, which may exceed 1; larger = better."""

    precision: float  # share of generated rows inside a ball of a real one
    recall: float  # share of real rows inside a ball of a generated one
    density: float  # real balls around a generated row, over k
    coverage: float  # share of real balls that hold a generated row
    neighbours: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def manifold_metrics(real: Tensor, generated: Tensor, *, neighbours: int = NEIGHBOURS) -> Manifold:
    """Precision, recall, density and coverage of (n, d) and (m, d), balls of k = `neighbours`.

    Balls are closed, as in both papers: two identical sets have precision, recall and coverage 1.
    At least k + 1 rows of each are needed, else `InputError`.
    """
    x, y = _centred(real, generated, neighbours, "precision and recall")
    slack = _slack(x, y)
    reach_x, reach_y = (_squared_radii(s, neighbours) + slack for s in (x, y))
    holding = torch.zeros(len(y), dtype=torch.int64, device=y.device)
    recalled, covered = [], []
    for part, reach in zip(torch.split(x, ROWS), torch.split(reach_x, ROWS), strict=True):
        apart = _squared_distances(part, y)
        inside = apart <= reach[:, None]
        holding += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((apart <= reach_y).any(1))
    return Manifold(
        precision=_share(holding > 0),
        recall=_share(torch.cat(recalled)),
        density=float(holding.double().mean()) / neighbours,
        coverage=_share(torch.cat(covered)),
        neighbours=neighbours,
    )


def realism(real: Tensor, generated: Tensor, *, neighbours: int = NEIGHBOURS) -> Tensor:
    """R(y) = max over real x of r_k(x) / ||x - y||, (m,) float64: larger = more realistic.

    As in the paper, only the half of the real rows with the smaller radii serves, because an
    outlier's ball is wide.  At most `MAX_REALISM`.
    """
    x, y = _centred(real, generated, neighbours, "the realism score")
    radii = _squared_radii(x, neighbours)
    serving = radii <= radii.median()
    x, radii = x[serving], radii[serving]
    scores = []
    for part in torch.split(y, ROWS):
        apart = _squared_distances(part, x)
        ratios = torch.where(apart > 0, radii / apart, torch.inf)
        scores.append(ratios.max(1).values.sqrt())
    return torch.cat(scores).clamp_max(MAX_REALISM)


def nearest_distances(real: Tensor, generated: Tensor, *, neighbours: int) -> Tensor:
    """Mean distance of each generated row to its k nearest real ones, (m,) float64."""
    x, y = _centred(real, generated, neighbours, "the distance to real images", both=False)
    means = [
        _squared_distances(part, x).topk(neighbours, largest=False).values.sqrt().mean(1)
        for part in torch.split(y, ROWS)
    ]
    return torch.cat(means)


def _centred(
    real: Tensor, generated: Tensor, neighbours: int, what: str, *, both: bool = True
) -> tuple[Tensor, Tensor]:
    """Both sets minus the mean of the real rows, so that distances lose little to rounding."""
    at_least = neighbours + 1
    x, y = checked_pair(real, generated, at_least=at_least if both else 1, what=what)
    return x - x.mean(0), y - x.mean(0)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    squares = x.square().sum(1)[:, None] + y.square().sum(1)
    return torch.addmm(squares, x, y.T, alpha=-2).clamp_min(0)


def _squared_radii(x: Tensor, neighbours: int) -> Tensor:
    parts, at = [], 0
    for part in torch.split(x, ROWS):
        apart = _squared_distances(part, x)
        rows = torch.arange(len(part))
        apart[rows, at + rows] = 0.0  # a row's distance to itself is exactly 0
        parts.append(apart.kthvalue(neighbours + 1, dim=1).values)
        at += len(part)
    return torch.cat(parts)


def _slack(x: Tensor, y: Tensor) -> float:
    """How much rounding may add to a squared distance; equal distances must count as equal."""
    largest = torch.maximum(x.square().sum(1).max(), y.square().sum(1).max())
    return 16 * torch.finfo(torch.float64).eps * float(largest)


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
