"""Final-layer inversion: the lasso of FLIPAD's Eq. 5, solved for a whole set of images.

Two efforts:

    fast    a fixed number of iterations of FISTA (Beck and Teboulle 2009) with the exact step
            1 / ||G_L||^2, started at z' = 0, restarted per image by the gradient scheme of
            O'Donoghue and Candes (2015); this is early-stopped least squares, long before the l1
            term acts, and what the default settings use;
    exact   until the image's own relative duality gap is below `gap`, a certificate and not a
            guess: by ADMM (`admm`) where the layer allows its factor, else by FISTA.

No image's steps, restarts or stopping look at another image, and all passes have one size
(`core.passes`).  The result for an image is therefore the same whether it comes alone or among a
thousand; another size of the passes may change the last bits.

The data term (`data`) is the distance to o itself, as in Eq. 5, or to the interval of every 8-bit
pixel (`intervals`).  The weight of the l1 term (`slack`) is `lam` for all images, or set by the
noise of each image, Eq. 4 instead of Eq. 5: the weight at which its misfit is that of its noise,
and never less than `lam`.

Deviation: the official code starts at z = 2 z_bar, uses hand-set steps and stops the whole batch at
once; here z starts at z_bar (z' = 0), the step is computed and each image stops by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wherefrom.attribution.final_layer.admm import ROWS, Admm
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.fista import Fista
from wherefrom.attribution.final_layer.intervals import Intervals
from wherefrom.attribution.final_layer.misfit_and_duality_gap import DataTerm, Interval, Square
from wherefrom.attribution.final_layer.operator import FastOperator, squared_norm
from wherefrom.core.compute.passes import full_precision, in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.generators.last_layer.layer import LastLayer

LABEL = "inverting the last layer"
CPU_ROWS, DEVICE_ROWS = 8, 64
SMALL_LAYER = 2**16  # activations of an image, such as 64 channels of 32 x 32
STAGE_GAP = 0.1  # relative, of the rough solutions of a continuation


@dataclass(frozen=True)
class Inversion:
    """Recovered activations and their certificates."""

    activations: Tensor  # (N, *input_shape), z = z' + z_bar
    objective: Tensor  # (N,) float64, Eq. 5, or the same with intervals
    gap: Tensor  # (N,) float64, absolute duality gap; the minimum is at least objective - gap
    residual: Tensor  # (N,) float64, ||G_L(z) - o||_2^2, or the misfit to intervals
    iterations: Tensor  # (N,) int64
    weight: Tensor  # (N,) float64, of the l1 term

    @property
    def relative_gap(self) -> Tensor:
        """Duality gap divided by the objective, (N,) float64; 0 where the objective is 0."""
        return torch.where(self.objective > 0, self.gap / self.objective, 0.0)


class Inverter:
    """Solves Eq. 5 for one layer; the step and the layer's fast form are computed once."""

    def __init__(self, layer: LastLayer, z_bar: Tensor, config: LassoConfig) -> None:
        if config.slack == "noise" and config.data != "interval":
            raise InputError("slack noise needs data interval, where the misfit has a known scale")
        self.config = config
        self._z_bar = z_bar
        self._layer = layer
        self._operator = FastOperator.of(layer)
        self._norm2 = squared_norm(layer)
        with full_precision(z_bar.device):
            self._image_of_mean = layer.apply(z_bar[None])
            self._admm = _admm_for(layer, z_bar, config, self._norm2)
        self.rows = (
            rows_together(layer.input_shape, z_bar.device, config) if self._admm is None else ROWS
        )

    def invert(self, o: Tensor, *, track: Track = quiet) -> Inversion:
        """Activations of targets o (N, *output_shape), in the dtype and on the device of o."""
        if self.config.data != "square":
            raise InputError("these settings ask for intervals; give them, not one o per pixel")
        columns = in_passes(self._solve, o, size=self.rows, track=track, label=LABEL)
        return Inversion(*columns)

    def invert_within(
        self, intervals: Intervals, budget: Tensor | None = None, *, track: Track = quiet
    ) -> Inversion:
        """Activations of targets that are known by intervals.

        With a `budget` (N,) the weight of the l1 term is raised, image by image, until the misfit
        || w d ||^2 reaches it: Eq. 4 with epsilon^2 = budget.
        """
        given = [intervals.low, intervals.high, intervals.weight]
        if budget is not None:
            given.append(budget)
        columns = in_passes(self._solve_within, *given, size=self.rows, track=track, label=LABEL)
        return Inversion(*columns)

    def _solve(self, o: Tensor) -> tuple[Tensor, ...]:
        o_shift = o - self._image_of_mean
        if self._admm is None:
            term = Square(self._operator.to_phases(o_shift))
            solved = self._by_fista(term, o_shift, None)
        else:
            solved = self._admm.solve(o_shift, self.config.gap, self.config.max_iterations)
            weight = torch.full_like(solved[1], self.config.lam)
            solved = (*solved, weight)
        z_shift, *certificate = solved
        return (z_shift + self._z_bar, *certificate)

    def _solve_within(
        self, low: Tensor, high: Tensor, weight: Tensor, budget: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        low, high = low - self._image_of_mean, high - self._image_of_mean
        term = Interval(*(self._operator.to_phases(x) for x in (low, high, weight)))
        z_shift, *certificate = self._by_fista(term, low, budget)
        return (z_shift + self._z_bar, *certificate)

    def _by_fista(self, term: DataTerm, like: Tensor, budget: Tensor | None) -> tuple[Tensor, ...]:
        z = like.new_zeros(len(like), *self._layer.input_shape)
        before = torch.zeros(len(like), dtype=torch.int64, device=like.device)
        *rough, last = self._stages()
        for stage in rough:
            z, spent, _ = Fista(self._operator, term, z, self._norm2, stage).solve()
            before += spent
        run = Fista(self._operator, term, z, self._norm2, last, budget)
        z_shift, iterations, weight = run.solve()
        iterations += before
        u = self._operator.linear(z_shift)
        primal, gap = term.bound(z_shift, u, self._operator.adjoint, weight)
        return z_shift, primal, gap, term.misfit(u), iterations, weight

    def _stages(self) -> list[LassoConfig]:
        """The settings of every solution on the way, the asked one last.

        All share `max_iterations`, half of it for the rough ones, whatever an image needs: what it
        gets must not depend on the others of its chunk.
        """
        c = self.config
        if c.effort == "fast" or c.continuation == 0:
            return [c]
        share = c.max_iterations // (2 * c.continuation)
        rough = [
            replace(c, lam=c.lam * 10**power, gap=max(c.gap, STAGE_GAP), max_iterations=share)
            for power in range(c.continuation, 0, -1)
        ]
        return [*rough, replace(c, max_iterations=c.max_iterations - share * c.continuation)]


def rows_together(
    input_shape: Sequence[int], device: torch.device | str, config: LassoConfig
) -> int:
    """How many images FISTA solves in one pass: as many as stay in the processor's cache."""
    if config.chunk:
        return config.chunk
    if torch.device(device).type != "cpu":
        return DEVICE_ROWS
    return CPU_ROWS if math.prod(input_shape) <= SMALL_LAYER else 1


def _admm_for(layer: LastLayer, z_bar: Tensor, config: LassoConfig, norm2: float) -> Admm | None:
    if config.data == "interval":
        if config.solver == "admm":
            raise InputError("ADMM solves the square data term only; use the solver auto or fista")
        return None
    if config.effort == "fast" or config.solver == "fista":
        return None
    solver = Admm.of(layer, z_bar, config.lam, norm2)
    if solver is None and config.solver == "admm":
        raise InputError(
            f"ADMM needs a positive lam and a layer with a cheap factor, not {layer.name} to "
            f"{layer.output_shape}; use the solver auto or fista"
        )
    return solver
