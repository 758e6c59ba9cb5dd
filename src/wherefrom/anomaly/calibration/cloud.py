"""The joint score: how far a point (C, V) lies from those of real images, in any direction.

The two axes are taken as logarithms, brought to unit covariance, and a point's distance is the mean
over its nearest neighbours among the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.errors import InputError

MIN_POINTS = 5
MIN_VALUE = 1e-12  # in place of a complexity or vulnerability of 0, before the logarithm
RIDGE = 1e-6  # of the variance, so that a constant axis does not divide by 0


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of real images.  Larger distance = less like any of them."""

    points: Tensor  # (n, 2) float64, in unit covariance
    centre: Tensor  # (2,) float64, in logarithms
    whitening: Tensor  # (2, 2) float64

    @classmethod
    def fit(cls, points: Tensor) -> Cloud:
        """The cloud of [C, V] (n, 2) float64; `InputError` for fewer than 5."""
        if len(points) < MIN_POINTS:
            raise InputError(
                f"the cloud got {len(points)} real images; it needs at least {MIN_POINTS}"
            )
        return cls._fitted(_logs(points))

    @classmethod
    def without_each(cls, points: Tensor, rows: Sequence[int]) -> list[Cloud]:
        """For each of `rows` the cloud of all points [C, V] (n, 2) but that one.

        An image that is measured against a cloud with itself in it looks more like the real ones
        than a new image does.
        """
        cls.fit(points)  # refuses too few
        logs = _logs(points)
        return [cls._fitted(torch.cat([logs[:row], logs[row + 1 :]])) for row in rows]

    @classmethod
    def _fitted(cls, logs: Tensor) -> Cloud:
        covariance = torch.cov(logs.T)
        scale = covariance.diagonal().mean().clamp_min(MIN_VALUE)
        ridge = RIDGE * scale * torch.eye(2, dtype=torch.float64)
        root = torch.linalg.cholesky(torch.linalg.inv(covariance + ridge))
        return cls((logs - logs.mean(dim=0)) @ root, logs.mean(dim=0), root)

    @property
    def neighbours(self) -> int:
        """How many nearest points are averaged: the square root of their number."""
        return math.ceil(math.sqrt(len(self.points)))

    def distance(self, points: Tensor) -> Tensor:
        """Mean distance of [C, V] (N, 2) to their nearest points, (N,) float64."""
        rows = (_logs(points) - self.centre) @ self.whitening
        nearest: Tensor = torch.cdist(rows, self.points).topk(self.neighbours, largest=False).values
        return nearest.mean(dim=1)


def _logs(points: Tensor) -> Tensor:
    return points.double().clamp_min(MIN_VALUE).log()
