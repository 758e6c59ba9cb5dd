"""ADMM for FLIPAD's Eq. 5, for layers whose G_L G_L^T + rho I has a cheap factor.

Boyd, Parikh, Chu, Peleato, Eckstein: Distributed Optimization and Statistical Learning via the
Alternating Direction Method of Multipliers, 2011, Section 6.4, with over-relaxation (3.4.3).

In the scale 1/2 ||G x - o'||^2 + alpha ||z||_1, alpha = lam / 2, with x = z:

    w = z - u,   s = (G G^T + rho I)^-1 (o' - G w),   x = w + G^T s
    v = relaxed x + u,   z = soft(v, alpha / rho),   u = v - z

The residual of x is o' - G x = rho s: no large numbers cancel in it, so that it certifies in single
precision gaps that the residual of z cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.attribution.equations import dual_objective, shifted_objective, soft_threshold
from wherefrom.attribution.final_layer.operator import FastOperator
from wherefrom.attribution.final_layer.row_factor import RowFactor, factor_rows
from wherefrom.generators.last_layer.layer import LastLayer

RELAXATION = 1.7
CHECK_EVERY = 10
ROWS = 16  # images solved together: the factor is read once for all of them
# alpha / rho, what an iteration shrinks z' by, in units of the typical z.  Any value converges; it
# was chosen on one trained layer (64 channels to 64x64x3), which `benchmarks/inversion.py` times.
STEP = 2.5


@dataclass(frozen=True, eq=False)
class Admm:
    """One layer, one weight of the l1 term, and the factor for both."""

    operator: FastOperator
    lam: float
    factor: RowFactor

    @classmethod
    def of(cls, layer: LastLayer, z_bar: Tensor, lam: float, norm2: float) -> Admm | None:
        """The solver, or None where FISTA is the better one: lam or G_L is 0, or no cheap factor.

        `norm2`: ||G_L||^2, which sets the scale of z where z_bar is 0.
        """
        if lam == 0 or norm2 == 0:
            return None
        typical = float(z_bar.abs().mean()) or (9 * norm2) ** -0.5
        factor = factor_rows(layer, lam / 2 / (STEP * typical))
        return None if factor is None else cls(FastOperator.of(layer), lam, factor)

    def solve(self, target: Tensor, gap: float, limit: int) -> tuple[Tensor, ...]:
        """z', Eq. 8's value, its gap, ||r||^2 and the iterations, for o' (N, *output_shape).

        Every image stops by itself: at its own relative gap, or after `limit` iterations.
        """
        shrink = self.lam / 2 / self.factor.rho
        z = target.new_zeros(len(target), *self.operator.layer.input_shape)
        u = z
        # At z' = 0 the target itself is the residual: no iteration is needed where that is best.
        gradient = self.operator.adjoint(self.operator.to_phases(target))
        solved = self._certified(z, target, gradient, target, 0)
        done = solved[2] <= gap * solved[1]
        for k in range(1, limit + 1):
            if bool(done.all()):
                break
            s = self.factor.solve(target - self._linear(z - u))
            change = self.operator.adjoint(self.operator.to_phases(s))  # x = z - u + change
            v = torch.sub(z, u, alpha=RELAXATION - 1).add_(change, alpha=RELAXATION)
            z = soft_threshold(v, shrink)
            u = v.sub_(z)
            if k % CHECK_EVERY == 0 or k == limit:
                solved = _keep(done, solved, self._certified(z, s, change, target, k))
                done |= solved[2] <= gap * solved[1]
        return solved

    def _linear(self, z: Tensor) -> Tensor:
        return self.operator.from_phases(self.operator.linear(z))

    def _certified(
        self, z: Tensor, theta: Tensor, gradient: Tensor, target: Tensor, k: int
    ) -> tuple[Tensor, ...]:
        """`theta` is any multiple of a dual point, `gradient` G^T theta."""
        r = self._linear(z) - target
        primal = shifted_objective(z, r, self.lam)
        correlation = gradient.flatten(1).abs().amax(dim=1)
        gap = primal - dual_objective(theta, target, correlation, self.lam)
        residual = r.flatten(1).square().sum(dim=1, dtype=torch.float64)
        took = torch.full_like(primal, k, dtype=torch.int64)
        return z, primal, gap, residual, took


def _keep(done: Tensor, old: tuple[Tensor, ...], new: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The old values where an image was done, the new ones elsewhere."""
    return tuple(
        torch.where(done.reshape(-1, *([1] * (a.ndim - 1))), a, b)
        for a, b in zip(old, new, strict=True)
    )
