"""The data term of the inversion: distance to one number per output element, or to an interval.

Both terms are convex and smooth with a gradient that moves at most as fast as 2 ||G_L||^2, so that
one solver (`lasso`) and one certificate serve both.  A term holds one chunk of images; `u` is
G_L z', in the layout of the operator.

    slope     half the gradient in u, of u's shape; may overwrite u
    misfit    the value, (N,) float64
    bound     misfit + lam ||z||_1, and how far below it the minimum lies at most, (N,) each
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.attribution.equations import (
    duality_gap,
    interval_distance,
    interval_dual,
    interval_misfit,
)


@dataclass(frozen=True, eq=False)
class Square:
    """|| u - target ||^2: Eq. 8."""

    target: Tensor

    def slope(self, u: Tensor) -> Tensor:
        """u - target."""
        return u.sub_(self.target)

    def misfit(self, u: Tensor) -> Tensor:
        """|| u - target ||^2."""
        return (u - self.target).flatten(1).square().sum(dim=1, dtype=torch.float64)

    def bound(
        self, z: Tensor, u: Tensor, adjoint: Callable[[Tensor], Tensor], lam: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Primal value and duality gap of Eq. 8."""
        r = u - self.target
        return duality_gap(z, r, self.target, adjoint(r), lam)


@dataclass(frozen=True, eq=False)
class Interval:
    """|| w (u - nearest point of [low, high]) ||^2: nothing is asked of u inside its interval."""

    low: Tensor
    high: Tensor
    weight: Tensor  # in (0, 1]

    def slope(self, u: Tensor) -> Tensor:
        """w^2 times the distance to the interval, with its sign."""
        return interval_distance(u, self.low, self.high) * self.weight.square()

    def misfit(self, u: Tensor) -> Tensor:
        """|| w d ||^2."""
        return interval_misfit(interval_distance(u, self.low, self.high), self.weight)

    def bound(
        self, z: Tensor, u: Tensor, adjoint: Callable[[Tensor], Tensor], lam: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Primal value and duality gap."""
        d = interval_distance(u, self.low, self.high)
        primal = interval_misfit(d, self.weight)
        primal = primal + lam * z.abs().flatten(1).sum(dim=1, dtype=torch.float64)
        correlation = adjoint(d * self.weight.square()).flatten(1).abs().amax(dim=1)
        return primal, primal - interval_dual(u, d, self.weight, correlation, lam)


DataTerm = Square | Interval
