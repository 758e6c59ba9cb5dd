"""Final-layer inversion: the lasso of FLIPAD's Eq. 5, solved for a whole set of images.

Two efforts:

    fast    a fixed number of iterations of FISTA (Beck and Teboulle 2009) with the exact step
            1 / ||G_L||^2, started at z' = 0, restarted per image by the gradient scheme of
            O'Donoghue and Candes (2015);
    exact   until the image's own relative duality gap is below `gap`, a certificate and not a
            guess: by ADMM (`admm`) where the layer allows its factor, else by FISTA.

Images are worked on in chunks of a fixed size (short chunks are padded with zero targets), and no
image's steps, restarts or stopping look at another image.  The result for an image is therefore the
same whether it comes alone or among a thousand; another chunk size may change the last bits.

Deviation: the official code starts at z = 2 z_bar, uses hand-set steps and stops the whole batch at
once; here z starts at z_bar (z' = 0), the step is computed and each image stops by itself.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.admm import CHUNK, Admm
from wherefrom.attribution.equations import duality_gap, soft_threshold
from wherefrom.attribution.operator import FastOperator, squared_norm
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.generators.last_layer import LastLayer


@dataclass(frozen=True, kw_only=True)
class LassoConfig(Config):
    """Settings of `invert`."""

    lam: float = setting(5e-4, "weight of the l1 term in Eq. 5", source="App. G.7", low=0.0)
    effort: str = setting(
        "fast",
        "fast: a fixed number of iterations; exact: until the duality gap is met",
        choices=("fast", "exact"),
    )
    iterations: int = setting(50, "iterations of the fast effort", source="docs/speed.md", low=1)
    solver: str = setting(
        "auto",
        "of the exact effort; auto: ADMM where its factor is cheap, else FISTA",
        choices=("auto", "fista", "admm"),
    )
    gap: float = setting(1e-3, "relative duality gap that ends the exact effort", low=0.0)
    max_iterations: int = setting(
        10_000, "the exact effort stops here even without the gap", source="App. G.7's code", low=1
    )
    chunk: int = setting(
        2, "images solved together: 2 suits a CPU's cache, 64 a GPU", source="docs/speed.md", low=1
    )


@dataclass(frozen=True)
class Inversion:
    """Recovered activations and their certificates."""

    activations: Tensor  # (N, *input_shape), z = z' + z_bar
    objective: Tensor  # (N,) float64, Eq. 5
    gap: Tensor  # (N,) float64, absolute duality gap; the minimum is at least objective - gap
    residual: Tensor  # (N,) float64, ||G_L(z) - o||_2^2
    iterations: Tensor  # (N,) int64

    @property
    def relative_gap(self) -> Tensor:
        """Duality gap divided by the objective, (N,) float64; 0 where the objective is 0."""
        return torch.where(self.objective > 0, self.gap / self.objective, 0.0)


CHECK_EVERY = 50


class Inverter:
    """Solves Eq. 5 for one layer; the step and the layer's fast form are computed once."""

    def __init__(self, layer: LastLayer, z_bar: Tensor, config: LassoConfig) -> None:
        self.config = config
        self._z_bar = z_bar
        self._layer = layer
        self._operator = FastOperator.of(layer)
        self._norm2 = squared_norm(layer)
        self._image_of_mean = layer.apply(z_bar[None])
        self._admm = _admm_for(layer, z_bar, config, self._norm2)
        self._chunk = config.chunk if self._admm is None else CHUNK

    def invert(self, o: Tensor, *, track: Track = quiet) -> Inversion:
        """Activations of targets o (N, *output_shape), in the dtype and on the device of o."""
        chunks = torch.split(o, self._chunk)
        with _full_precision(o):
            parts = [self._solve(part) for part in track(chunks, "inverting", total=len(chunks))]
        columns = zip(*parts, strict=True)
        return Inversion(*(torch.cat(column) for column in columns))

    def _solve(self, o: Tensor) -> tuple[Tensor, ...]:
        count = len(o)
        o_shift = F.pad(
            (o - self._image_of_mean).flatten(1), (0, 0, 0, self._chunk - count)
        ).reshape(-1, *o.shape[1:])
        if self._admm is None:
            solved = self._by_fista(o_shift)
        else:
            solved = self._admm.solve(o_shift, self.config.gap, self.config.max_iterations)
        z_shift, *certificate = solved
        return tuple(x[:count] for x in (z_shift + self._z_bar, *certificate))

    def _by_fista(self, o_shift: Tensor) -> tuple[Tensor, ...]:
        target = self._operator.to_phases(o_shift)
        run = _Fista(self._operator, target, self._norm2, self.config, self._layer.input_shape)
        z_shift, iterations = run.solve()
        r = self._operator.linear(z_shift) - target
        primal, gap = duality_gap(z_shift, r, target, self._operator.adjoint(r), self.config.lam)
        residual = r.flatten(1).square().sum(dim=1, dtype=torch.float64)
        return z_shift, primal, gap, residual, iterations


def _admm_for(layer: LastLayer, z_bar: Tensor, config: LassoConfig, norm2: float) -> Admm | None:
    if config.effort == "fast" or config.solver == "fista":
        return None
    found = Admm.of(layer, z_bar, config.lam, norm2)
    if found is None and config.solver == "admm":
        raise InputError(
            f"ADMM needs a positive lam and a layer with a cheap factor, not {layer.name} to "
            f"{layer.output_shape}; use the solver auto or fista"
        )
    return found


def _full_precision(o: Tensor) -> AbstractContextManager[None]:
    """No TF32 on CUDA: ten bits of mantissa are not enough for a badly conditioned lasso."""
    if not o.is_cuda:
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


class _Fista:
    """One chunk's iterations, in the 1/2 || ||^2 scale: alpha = lam / 2."""

    def __init__(
        self,
        operator: FastOperator,
        target: Tensor,
        norm2: float,
        config: LassoConfig,
        input_shape: tuple[int, ...],
    ) -> None:
        self.operator, self.target, self.config = operator, target, config
        self.step = 1.0 / norm2 if norm2 > 0 else 0.0
        self.shrink = self.step * config.lam / 2
        self.z = target.new_zeros(len(target), *input_shape)
        self.y = self.z
        self.t = target.new_ones(len(target))
        self._ones = (-1, *([1] * len(input_shape)))
        self._inner = tuple(range(1, len(input_shape) + 1))

    def solve(self) -> tuple[Tensor, Tensor]:
        """z' (chunk, *input_shape) and the iterations each image took (chunk,)."""
        if self.config.effort == "fast":
            for _ in range(self.config.iterations):
                self._advance()
            return self.z, torch.full_like(self.t, self.config.iterations, dtype=torch.int64)
        done = torch.zeros_like(self.t, dtype=torch.bool)
        took = torch.full_like(self.t, self.config.max_iterations, dtype=torch.int64)
        result = self.z
        for k in range(self.config.max_iterations):
            if k % CHECK_EVERY == 0:
                now = self._certified() & ~done
                result = torch.where(now.reshape(self._ones), self.z, result)
                took = torch.where(now, k, took)
                done |= now
                if bool(done.all()):
                    return result, took
            self._advance()
        return torch.where(done.reshape(self._ones), result, self.z), took

    def _advance(self) -> None:
        r = self.operator.linear(self.y).sub_(self.target)
        v = torch.add(self.y, self.operator.adjoint(r), alpha=-self.step)
        new = soft_threshold(v, self.shrink)
        change = new - self.z
        # O'Donoghue and Candes, Eq. 13: the momentum points uphill.  No flatten: it would copy.
        uphill = ((self.y - new) * change).sum(dim=self._inner) > 0
        t_next = (1 + (1 + 4 * self.t.square()).sqrt()) / 2
        momentum = torch.where(uphill, 0.0, (self.t - 1) / t_next)
        self.t = torch.where(uphill, 1.0, t_next)
        self.y = torch.addcmul(new, change, momentum.reshape(self._ones))
        self.z = new

    def _certified(self) -> Tensor:
        r = self.operator.linear(self.z) - self.target
        primal, gap = duality_gap(self.z, r, self.target, self.operator.adjoint(r), self.config.lam)
        return gap <= self.config.gap * primal
