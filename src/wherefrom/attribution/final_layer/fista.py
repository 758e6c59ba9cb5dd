"""FISTA for one chunk of images, each with its own restarts, its own end and, if asked, own weight.

Beck and Teboulle: A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems,
SIAM J. Imaging Sciences 2009, with the gradient restart of O'Donoghue and Candes: Adaptive Restart
for Accelerated Gradient Schemes, Found. Comput. Math. 2015.

Symbols:
    z        z', (N, *input_shape), starts at 0
    u        G_L z'
    lam      weight of the l1 term; with a budget (N,), raised until the misfit is the budget: the
             misfit grows with lam, as a power of it nearby, which a secant in logarithms follows
"""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.attribution.equations import soft_threshold
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.misfit_and_duality_gap import DataTerm
from wherefrom.attribution.final_layer.operator import FastOperator
from wherefrom.core.errors import InputError

CHECK_EVERY = 50
ADJUST_EVERY = 10  # iterations of the fast effort between two steps of a weight
BUDGET_TOLERANCE = 1e-3  # of the exact effort, relative
MAX_FACTOR = 4.0  # factor by which a weight moves at once
POWERS = (0.5, 2.0)  # how fast a misfit is taken to grow with its weight


class Fista:
    """One chunk's iterations, in the 1/2 || ||^2 scale: alpha = lam / 2."""

    def __init__(
        self,
        operator: FastOperator,
        term: DataTerm,
        z: Tensor,
        norm2: float,
        config: LassoConfig,
        budget: Tensor | None = None,
    ) -> None:
        if budget is not None and config.lam <= 0:
            raise InputError("a weight that follows the noise starts at lam; give one above 0")
        self.operator, self.term, self.config, self.budget = operator, term, config, budget
        self.step = 1.0 / norm2 if norm2 > 0 else 0.0
        self.weight = torch.full((len(z),), config.lam, dtype=torch.float64, device=z.device)
        self._before: tuple[Tensor, Tensor] | None = None  # logarithms of weight and misfit
        self.z = self.y = z
        self.t = z.new_ones(len(z))
        self._ones = (-1, *([1] * (z.ndim - 1)))
        self._inner = tuple(range(1, z.ndim))

    def solve(self) -> tuple[Tensor, Tensor, Tensor]:
        """z' (N, *input_shape), the iterations each image took and its weight, (N,) each."""
        c = self.config
        if c.effort == "fast":
            for k in range(c.iterations):
                if self.budget is not None and k and k % ADJUST_EVERY == 0:
                    misfit = self.term.misfit(self.operator.linear(self.z))
                    self._adjust(misfit, torch.ones_like(misfit, dtype=torch.bool))
                self._advance()
            took = torch.full_like(self.t, c.iterations, dtype=torch.int64)
            return self.z, took, self.weight
        done = torch.zeros_like(self.t, dtype=torch.bool)
        took = torch.full_like(self.t, c.max_iterations, dtype=torch.int64)
        result, weight = self.z, self.weight
        for k in range(c.max_iterations):
            if k % CHECK_EVERY == 0:
                now = self._finished() & ~done
                result = torch.where(now.reshape(self._ones), self.z, result)
                weight = torch.where(now, self._certified_weight, weight)
                took = torch.where(now, k, took)
                done |= now
                if bool(done.all()):
                    return result, took, weight
            self._advance()
        result = torch.where(done.reshape(self._ones), result, self.z)
        return result, took, torch.where(done, weight, self.weight)

    def _advance(self) -> None:
        slope = self.term.slope(self.operator.linear(self.y))
        v = torch.add(self.y, self.operator.adjoint(slope), alpha=-self.step)
        new = self._shrink(v)
        change = new - self.z
        # O'Donoghue and Candes, Eq. 13: the momentum points uphill.  No flatten: it would copy.
        uphill = ((self.y - new) * change).sum(dim=self._inner) > 0
        t_next = (1 + (1 + 4 * self.t.square()).sqrt()) / 2
        momentum = torch.where(uphill, 0.0, (self.t - 1) / t_next)
        self.t = torch.where(uphill, 1.0, t_next)
        self.y = torch.addcmul(new, change, momentum.reshape(self._ones))
        self.z = new

    def _shrink(self, v: Tensor) -> Tensor:
        if self.budget is None:
            return soft_threshold(v, self.step * self.config.lam / 2)
        threshold = (self.step / 2 * self.weight).to(v).reshape(self._ones)
        return v - torch.minimum(torch.maximum(v, -threshold), threshold)

    def _finished(self) -> Tensor:
        """Which images are within their gap and, where there is a budget, use it up.

        Of the others within their gap, the weight moves; `_certified_weight` is that before.
        """
        u = self.operator.linear(self.z)
        primal, gap = self.term.bound(self.z, u, self.operator.adjoint, self.weight)
        tight = gap <= self.config.gap * primal
        self._certified_weight = self.weight
        if self.budget is None:
            return tight
        misfit = self.term.misfit(u)
        near = (misfit - self.budget).abs() <= BUDGET_TOLERANCE * self.budget
        # lam is the smallest weight, and where z' = 0 no larger one changes anything
        floor = (self.weight <= self.config.lam) & (misfit >= self.budget)
        nothing = (self.z == 0).flatten(1).all(dim=1) & (misfit <= self.budget)
        settled = tight & (near | floor | nothing)
        self._adjust(misfit, tight & ~settled)
        return settled

    def _adjust(self, misfit: Tensor, where: Tensor) -> None:
        if self.budget is None:
            return
        tiny = torch.finfo(torch.float64).tiny
        now = self.weight.log(), misfit.clamp_min(tiny).log()
        power = torch.full_like(misfit, POWERS[1])
        if self._before is not None:
            moved = now[0] - self._before[0]
            slope = (now[1] - self._before[1]) / torch.where(moved == 0, 1.0, moved)
            power = torch.where(moved == 0, power, slope.clamp(*POWERS))
        step = (self.budget.clamp_min(tiny).log() - now[1]) / power
        factor = step.exp().clamp(1 / MAX_FACTOR, MAX_FACTOR)
        moved_weight = (self.weight * factor).clamp_min(self.config.lam)
        if self._before is None:
            self._before = now
        else:
            self._before = (
                torch.where(where, now[0], self._before[0]),
                torch.where(where, now[1], self._before[1]),
            )
        self.weight = torch.where(where, moved_weight, self.weight)
        if self.config.effort == "exact":
            self.t = torch.where(where, 1.0, self.t)
            self.y = torch.where(where.reshape(self._ones), self.z, self.y)
