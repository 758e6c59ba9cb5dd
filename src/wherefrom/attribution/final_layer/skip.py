"""Final-layer inversion with skip connections: a lasso over groups of activations.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024, App. F, which proposes it and leaves it open.

Symbols:
    z_i     activations of group i, (N, *input_shape of A_i): z_last of the last layer, z_skip of
            what is added to its output
    A_i     linear map of group i: G_L, the identity for a residual, an upsampling for the smaller
            image of an output skip (StyleGAN2)
    o       sum_i A_i z_i + b, (N, *output_shape)
    lam_i   weight of the l1 term of group i

    minimise   || sum_i A_i z_i + b - o ||_2^2  +  sum_i lam_i || z_i - mean_i ||_1

Solved like the plain lasso (`lasso`): FISTA with a restart per image, and for the exact effort a
duality gap per image.  Each group takes steps of its own length, 1 / (groups ||A_i||^2): with m
groups, || sum A_i d_i ||^2 <= m sum ||A_i||^2 ||d_i||^2.

Deviation: App. F writes the skipped part as a full-size summand, A = I.  A smaller image that is
upsampled may keep its own size here, with the upsampling as A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from wherefrom.attribution.equations import dual_objective, soft_threshold
from wherefrom.attribution.final_layer.fista import CHECK_EVERY
from wherefrom.attribution.final_layer.lasso import LassoConfig, rows_together
from wherefrom.attribution.final_layer.operator import squared_norm
from wherefrom.core.errors import InputError
from wherefrom.core.passes import in_passes
from wherefrom.core.progress import Track, quiet
from wherefrom.generators.last_layer.layer import LastLayer


class LinearMap(Protocol):
    """A_i without a bias."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one z_i."""
        ...

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one o."""
        ...

    def linear(self, z: Tensor) -> Tensor:
        """A_i z, (N, *output_shape)."""
        ...

    def adjoint(self, r: Tensor) -> Tensor:
        """A_i^T r, (N, *input_shape)."""
        ...


@dataclass(frozen=True)
class Identity:
    """What a residual connection adds as it is."""

    shape: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return self.shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The same shape."""
        return self.shape

    def linear(self, z: Tensor) -> Tensor:
        """z itself."""
        return z

    def adjoint(self, r: Tensor) -> Tensor:
        """r itself."""
        return r


@dataclass(frozen=True, eq=False)
class Group:
    """One group of activations: its map, its mean and its l1 weight."""

    operator: LinearMap
    mean: Tensor  # (*input_shape)
    lam: float

    @property
    def squared_norm(self) -> float:
        """An upper bound of ||A_i||^2."""
        return squared_norm(self.operator) if isinstance(self.operator, LastLayer) else 1.0


@dataclass(frozen=True)
class GroupedInversion:
    """Recovered activations of every group and their certificates."""

    activations: tuple[Tensor, ...]  # (N, *input_shape) each
    objective: Tensor  # (N,) float64
    gap: Tensor  # (N,) float64, absolute: the minimum is at least objective - gap
    residual: Tensor  # (N,) float64, ||sum A_i z_i + b - o||_2^2
    iterations: Tensor  # (N,) int64


def upsampling(kernel: Tensor, factor: int, input_shape: tuple[int, int, int]) -> LastLayer:
    """A_i of an output skip: zeros between the pixels, then a filter, channel by channel.

    `kernel` (k, k) in the order of a transposed convolution, k - factor even: (2, 2) ones with
    factor 2 is nearest neighbour, (4, 4) from [1, 3, 3, 1] is StyleGAN2's.
    """
    channels, height, width = input_shape
    size = kernel.shape[-1]
    if kernel.ndim != 2 or kernel.shape[0] != size or size < factor or (size - factor) % 2:
        raise InputError(
            f"an upsampling kernel of {tuple(kernel.shape)} for a factor of {factor}; give a "
            "square one that is larger than the factor by an even number"
        )
    return LastLayer(
        kind="conv_transpose",
        weight=kernel.expand(channels, 1, size, size).contiguous(),
        bias=None,
        input_shape=input_shape,
        output_shape=(channels, height * factor, width * factor),
        stride=(factor, factor),
        padding=((size - factor) // 2,) * 2,
        dilation=(1, 1),
        output_padding=(0, 0),
        groups=channels,
    )


def invert_groups(
    groups: Sequence[Group],
    o: Tensor,
    *,
    config: LassoConfig,
    bias: Tensor | None = None,
    track: Track = quiet,
) -> GroupedInversion:
    """Activations of all groups for targets o (N, *output_shape).  App. F.

    `bias` is added to every output, broadcast to its shape.  Of `config` the effort, iterations,
    gap and chunk count; the weights are the groups' own.
    """
    shapes = {group.operator.output_shape for group in groups}
    if not groups or shapes != {tuple(o.shape[1:])}:
        raise InputError(
            f"targets of shape {tuple(o.shape[1:])}, but the groups make {sorted(shapes)}"
        )
    if any(group.lam <= 0 for group in groups):
        raise InputError(
            "every group needs a positive l1 weight: one without could explain every image alone"
        )
    offset = sum(group.operator.linear(group.mean[None]) for group in groups)
    if bias is not None:
        offset = offset + bias
    columns = in_passes(
        lambda part: _Blocks(groups, part - offset, config).solve(),
        o,
        size=rows_together(groups[0].operator.input_shape, o.device, config),
        track=track,
        label="inverting the last layers",
    )
    found = tuple(column + group.mean for column, group in zip(columns[4:], groups, strict=True))
    objective, gap, residual, iterations = columns[:4]
    return GroupedInversion(found, objective, gap, residual, iterations)


class _Blocks:
    """One chunk's iterations, in the 1/2 || ||^2 scale: alpha_i = lam_i / 2."""

    def __init__(self, groups: Sequence[Group], target: Tensor, config: LassoConfig) -> None:
        self.groups, self.target, self.config = groups, target, config
        # A map that is all zero moves nothing: any finite step will do.
        self.steps = [1 / (len(groups) * max(g.squared_norm, 1e-30)) for g in groups]
        self.z = [target.new_zeros(len(target), *g.operator.input_shape) for g in groups]
        self.y = self.z
        self.t = target.new_ones(len(target))

    def solve(self) -> tuple[Tensor, ...]:
        """objective, gap, residual, iterations, then z' of every group, one row per image."""
        exact = self.config.effort == "exact"
        limit = self.config.max_iterations if exact else self.config.iterations
        done = torch.zeros_like(self.t, dtype=torch.bool)
        took = torch.full_like(self.t, limit, dtype=torch.int64)
        result = self.z
        for k in range(limit):
            if exact and k % CHECK_EVERY == 0:
                objective, gap, _ = self._certificate(self.z)
                now = (gap <= self.config.gap * objective) & ~done
                result = [_choose(now, a, b) for a, b in zip(self.z, result, strict=True)]
                took = torch.where(now, k, took)
                done |= now
                if bool(done.all()):
                    break
            self._advance()
        result = [_choose(done, a, b) for a, b in zip(result, self.z, strict=True)]
        return (*self._certificate(result), took, *result)

    def _residual(self, z: Sequence[Tensor]) -> Tensor:
        made = [g.operator.linear(part) for g, part in zip(self.groups, z, strict=True)]
        return torch.stack(made).sum(dim=0) - self.target

    def _advance(self) -> None:
        r = self._residual(self.y)
        uphill = torch.zeros_like(self.t)
        new = []
        for g, step, y, z in zip(self.groups, self.steps, self.y, self.z, strict=True):
            moved = soft_threshold(y - step * g.operator.adjoint(r), step * g.lam / 2)
            # O'Donoghue and Candes, Eq. 13, in the metric of the steps
            uphill += ((y - moved) * (moved - z)).flatten(1).sum(dim=1) / step
            new.append(moved)
        t_next = (1 + (1 + 4 * self.t.square()).sqrt()) / 2
        momentum = torch.where(uphill > 0, 0.0, (self.t - 1) / t_next)
        self.t = torch.where(uphill > 0, 1.0, t_next)
        self.y = [a + _wide(momentum, a) * (a - b) for a, b in zip(new, self.z, strict=True)]
        self.z = new

    def _certificate(self, z: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Objective, duality gap and squared residual, (chunk,) float64 each.

        A multiple of r is feasible for the dual if |A_i^T r| stays below lam_i / 2 in every group:
        with the groups scaled to one common weight, that is the plain lasso's dual.
        """
        r = self._residual(z)
        common = self.groups[0].lam
        correlations, cost = [], torch.zeros_like(self.t, dtype=torch.float64)
        for g, part in zip(self.groups, z, strict=True):
            largest = g.operator.adjoint(r).flatten(1).abs().amax(dim=1)
            correlations.append(largest.double() * (common / g.lam))
            cost += g.lam * part.flatten(1).abs().sum(dim=1, dtype=torch.float64)
        residual = r.flatten(1).square().sum(dim=1, dtype=torch.float64)
        objective = residual + cost
        correlation = torch.stack(correlations).amax(dim=0)
        return objective, objective - dual_objective(r, self.target, correlation, common), residual


def _wide(per_image: Tensor, like: Tensor) -> Tensor:
    return per_image.reshape(-1, *[1] * (like.ndim - 1))


def _choose(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(_wide(mask, a), a, b)
