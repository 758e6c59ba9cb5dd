"""Equations of FLIPAD as pure tensor functions.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024.

Symbols:
    o        target, pre-activation of the output, (N, *output_shape)
    o_shift  o' = o - G_L(z_bar), (N, *output_shape)
    z        activation before the last layer, (N, *input_shape)
    z_shift  z' = z - z_bar, (N, *input_shape)
    z_bar    Monte-Carlo mean of z, (*input_shape)
    lam      weight of the l1 term in Eq. 5, no unit
    r        residual G_L z' - o', (N, *output_shape)
    u        G_L z', (N, *output_shape)
    low, high   ends of the interval in which o' lies, (N, *output_shape); -inf, inf: open
    w        weight of an element, in (0, 1], (N, *output_shape)

Scale: everything is in the scale of Eq. 5, ||.||_2^2 + lam ||.||_1, without the factor 1/2 that
other libraries use.  The same minimiser is found by 1/2 ||.||_2^2 + alpha ||.||_1 with
alpha = lam / 2, and by scikit-learn's and celer's `Lasso(alpha=lam / (2 D_out))`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]


def _sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1, dtype=torch.float64)


def lasso_objective(z: Tensor, o: Tensor, apply: Linear, z_bar: Tensor, lam: float) -> Tensor:
    """Objective of final-layer inversion, one float64 value per sample, (N,).  Eq. 5.

    || G_L(z) - o ||_2^2  +  lam * || z - z_bar ||_1
    """
    return _sum((apply(z) - o).square()) + lam * _sum((z - z_bar).abs())


def shifted_objective(z_shift: Tensor, r: Tensor, lam: float | Tensor) -> Tensor:
    """Objective of the shifted problem from its residual, (N,) float64.  Eq. 8.

    || r ||_2^2  +  lam * || z' ||_1,   r = G_L z' - o'
    """
    return _sum(r.square()) + lam * _sum(z_shift.abs())


def soft_threshold(x: Tensor, threshold: float) -> Tensor:
    """Proximal map of threshold * ||.||_1: shrink every entry towards zero."""
    return torch.nn.functional.softshrink(x, threshold)


def dual_objective(r: Tensor, o_shift: Tensor, correlation: Tensor, lam: float | Tensor) -> Tensor:
    """Value of the dual of Eq. 8 at the best feasible multiple of the residual, (N,) float64.

    theta = -s r with s = clip(-<r, o'> / ||r||^2, +- (lam / 2) / ||G^T r||_inf);
    D = ||o'||^2 - ||o' - theta||^2.   `correlation` is ||G^T r||_inf per sample, (N,).
    """
    tiny = torch.finfo(torch.float64).tiny
    square, inner = _sum(r.square()), -_sum(r * o_shift)
    limit = (lam / 2) / correlation.double().clamp_min(tiny)
    s = torch.minimum(torch.maximum(inner / square.clamp_min(tiny), -limit), limit)
    # ||o'||^2 - ||o' + s r||^2, written so that nothing large cancels
    return 2 * s * inner - s.square() * square


def duality_gap(
    z_shift: Tensor, r: Tensor, o_shift: Tensor, gradient: Tensor, lam: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Primal value and duality gap of Eq. 8, two (N,) float64 tensors.  `gradient` is G_L^T r.

    The minimum lies within `gap` below the primal value: that is the certificate.
    """
    primal = shifted_objective(z_shift, r, lam)
    correlation = gradient.flatten(1).abs().amax(dim=1)
    return primal, primal - dual_objective(r, o_shift, correlation, lam)


def interval_distance(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """u minus the nearest point of [low, high]: 0 inside, (N, *output_shape)."""
    return u - torch.minimum(torch.maximum(u, low), high)


def interval_misfit(d: Tensor, weight: Tensor) -> Tensor:
    """|| w d ||_2^2 of distances d, (N,) float64: the data term that takes ||r||^2's place.

    With low = high = o' and w = 1 it is Eq. 8's.  Its gradient in z' is 2 G^T (w^2 d).
    """
    return _sum((weight * d).square())


def interval_dual(
    u: Tensor, d: Tensor, weight: Tensor, correlation: Tensor, lam: float | Tensor
) -> Tensor:
    """Dual of || w d ||^2 + lam ||z'||_1 at the best feasible multiple of w^2 d, (N,) float64.

    The conjugate of || w d(u) ||^2 is  sum p theta + theta^2 / (4 w^2),  p the end of the interval
    on theta's side.  theta = 2 s w^2 d points out of the interval, so p is the point nearest to u,
    and is finite:  D = -2 s <p, w^2 d> - s^2 ||w d||^2,  0 <= s <= (lam / 2) / ||G^T w^2 d||_inf.
    `correlation` is ||G^T w^2 d||_inf per sample, (N,).
    """
    tiny = torch.finfo(torch.float64).tiny
    square = interval_misfit(d, weight)
    inner = -_sum((u - d) * weight.square() * d)
    limit = (lam / 2) / correlation.double().clamp_min(tiny)
    s = torch.minimum((inner / square.clamp_min(tiny)).clamp_min(0), limit)
    return 2 * s * inner - s.square() * square
