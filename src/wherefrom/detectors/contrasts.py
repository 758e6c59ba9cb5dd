"""Contrasts: directions in which a model's outputs hardly vary and other images differ.

For each named kind of other images k, the direction of Fisher's linear discriminant,

    w_k = (S + rho I)^-1 (mu_k - mu),

is taken with the own scatter S only.  Own outputs are then modelled by one Gaussian in these few
projections, and the score is the squared Mahalanobis distance: an image that leaves the model's
habits in either direction is anomalous, also if it is like none of the kinds.

Fisher: The Use of Multiple Measurements in Taxonomic Problems, 1936.  Not part of FLIPAD.

Symbols:
    x    inputs, (N, D) float
    mu   own mean, mu_k mean of kind k, (D,), both standardised by the own deviation + 0.05
    S    own second moment of the standardised inputs, (D, D), never formed when D > N
    rho  ridge
    W    all directions, (D, K)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wherefrom.core.errors import InputError

SCORE_CHUNK = 64
FLOOR = 0.05  # as in Deep SAD's standardisation: constant elements must not explode


@dataclass(frozen=True, eq=False)
class FittedContrasts:
    """Directions and the own Gaussian along them.  Larger score = more anomalous."""

    kind: ClassVar[str] = "detectors/contrasts"
    mean: Tensor  # (D,)
    scale: Tensor  # (D,)
    directions: Tensor  # (D, K)
    centre: Tensor  # (K,) float64, own mean of the projections
    whitening: Tensor  # (K, K) float64, own covariance^-1/2 (lower triangular)

    def score(self, x: Tensor) -> Tensor:
        """Squared Mahalanobis distance per input, (N,) float64, whatever batch x comes in."""
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise InputError(f"inputs of shape {tuple(x.shape)}, expected (N, {len(self.mean)})")
        parts = [self._score_chunk(part) for part in torch.split(x, SCORE_CHUNK)]
        return torch.cat(parts)

    def _score_chunk(self, x: Tensor) -> Tensor:
        padded = x.new_zeros(SCORE_CHUNK, x.shape[1])
        padded[: len(x)] = x
        off = project(padded, self.mean, self.scale, self.directions) - self.centre
        return (off @ self.whitening.T).square().sum(dim=1)[: len(x)]

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything, for `core.store`."""
        names = ("mean", "scale", "directions", "centre", "whitening")
        return {name: getattr(self, name) for name in names}


def fit_contrasts(
    own: Tensor, shifts: Tensor, fresh: Tensor, *, ridge: float = 1e-2
) -> FittedContrasts:
    """Directions from `own` (N, D) along `shifts` (K, D); the Gaussian from `fresh` (M, D).

    Row k of `shifts` is mu_k - mu, the mean difference of kind k in the units of the inputs.
    `fresh` are own inputs that are not in `own`: along directions chosen on the same inputs the
    Gaussian would be too narrow.  M must be more than twice K.
    """
    if len(fresh) <= 2 * len(shifts):
        raise InputError(
            f"{len(fresh)} fresh own inputs for {len(shifts)} directions; give more than twice as "
            "many inputs"
        )
    mean = own.mean(dim=0)
    scale = own.std(dim=0) + FLOOR
    directions = ridge_solve((own - mean) / scale, (shifts / scale).T, ridge)
    projected = project(fresh, mean, scale, directions)
    covariance = torch.cov(projected.T).reshape(len(shifts), len(shifts))
    covariance.diagonal().add_(1e-6 * covariance.diagonal().mean())
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
    return FittedContrasts(mean, scale, directions, projected.mean(dim=0), whitening)


def ridge_solve(z: Tensor, shifts: Tensor, ridge: float) -> Tensor:
    """(z^T z / N + ridge I)^-1 shifts for z (N, D), shifts (D, K); by Woodbury where D > N."""
    n, d = z.shape
    if d <= n:
        scatter = (z.T @ z / n).double()
        scatter.diagonal().add_(ridge)
        factor = torch.linalg.cholesky(scatter)
        return torch.cholesky_solve(shifts.double(), factor).to(z.dtype)
    gram = (z @ z.T / n).double()
    gram.diagonal().add_(ridge)
    inner = torch.cholesky_solve((z @ shifts).double() / n, torch.linalg.cholesky(gram))
    return (shifts - z.T @ inner.to(z.dtype)) / ridge


def project(x: Tensor, mean: Tensor, scale: Tensor, directions: Tensor) -> Tensor:
    """Projections of x (N, D) onto the directions, (N, K) float64."""
    return (((x - mean) / scale) @ directions).double()
