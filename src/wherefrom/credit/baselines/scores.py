"""The baselines of Table 1: scores of each contributor without any retraining.  App. C.

Each gives a score to every pair of a training image and a generated image, larger = more credit;
they are averaged over the generated images, and gathered by contributor: the sum for influence and
TRAK, mean or maximum for similarities.  A sum favours who gave much, so the mean is there too.

Symbols:
    Phi     projected gradients of the N training images, (N, k)
    gamma   those of the G generated images, (G, k)
    H       Phi^T Phi + lambda I, (k, k)

Deviation: lambda is a multiple of the mean of the diagonal of Phi^T Phi, because an absolute one
(5e-1 in the paper) means another thing for every network and every k.
Deviation: the distance of embeddings carries a minus, so that near is much credit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.credit.game import Floats

GATHERINGS = ("sum", "mean", "max")
DAMPING = 0.5


def gather(scores: Tensor, owner: Tensor, players: int, how: str) -> Floats:
    """Scores of images (N,) as scores of contributors, float64 (n,)."""
    if how not in GATHERINGS:
        raise InputError(f"scores are gathered by {how!r}; choose one of {', '.join(GATHERINGS)}")
    if scores.shape != owner.shape:
        raise InputError(f"there are {len(scores)} scores of {len(owner)} images")
    values = scores.double().numpy()
    rows = [values[owner.numpy() == player] for player in range(players)]
    return np.array([getattr(row, how)() for row in rows], dtype=np.float64)


def cosine_scores(training: Tensor, generated: Tensor) -> Tensor:
    """Mean cosine of each row (N, D) with the rows (G, D), float64 (N,).  App. C; Eq. 12."""
    unit, other = (F.normalize(rows.double(), dim=1) for rows in (training, generated))
    return unit @ other.mean(0)


def largest_cosine_scores(training: Tensor, generated: Tensor, owner: Tensor) -> Tensor:
    """For each generated row the largest cosine within a contributor, averaged, float64 (n,)."""
    unit, other = (F.normalize(rows.double(), dim=1) for rows in (training, generated))
    cosines = unit @ other.T
    players = int(owner.max()) + 1
    return torch.stack([cosines[owner == p].amax(0).mean() for p in range(players)])


def distance_scores(training: Tensor, generated: Tensor) -> Tensor:
    """Minus the mean distance of each row (N, D) to the rows (G, D), float64 (N,)."""
    return -torch.cdist(training.double(), generated.double()).mean(1)


def trak_scores(training: Tensor, generated: Tensor, *, damping: float = DAMPING) -> Tensor:
    """Phi H^-1 gamma averaged over gamma, float64 (N,).  Eq. 13; D-TRAK and Journey by the rows."""
    phi = training.double()
    return phi @ _solve(phi, generated.double().mean(0)[None], damping)[0]


def relative_scores(training: Tensor, generated: Tensor, *, damping: float = DAMPING) -> Tensor:
    """TRAK scores over the length of H^-1 phi of each training image, float64 (N,).  Eq. 19."""
    phi = training.double()
    turned = _solve(phi, phi, damping)
    return (turned @ generated.double().mean(0)) / _lengths(turned)


def renormalised_scores(training: Tensor, generated: Tensor, *, damping: float = DAMPING) -> Tensor:
    """TRAK scores over the length of phi of each training image, float64 (N,).  Eq. 21."""
    return trak_scores(training, generated, damping=damping) / _lengths(training.double())


def _solve(phi: Tensor, rows: Tensor, damping: float) -> Tensor:
    """H^-1 applied to rows (m, k), by the smaller of the two symmetric systems."""
    n, k = phi.shape
    if not damping > 0:
        raise InputError(f"the damping is {damping}; give more than 0")
    ridge = damping * phi.square().sum() / k
    if not bool(torch.isfinite(ridge)) or float(ridge) == 0:
        raise InputError("the gradients of the training images are all zero, or not finite")
    if k <= n:
        factor = torch.linalg.cholesky(phi.T @ phi + ridge * torch.eye(k, dtype=phi.dtype))
        return torch.cholesky_solve(rows.T, factor).T
    # (Phi^T Phi + r I)^-1 v = (v - Phi^T (Phi Phi^T + r I)^-1 Phi v) / r
    factor = torch.linalg.cholesky(phi @ phi.T + ridge * torch.eye(n, dtype=phi.dtype))
    return (rows - torch.cholesky_solve(phi @ rows.T, factor).T @ phi) / ridge


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1).clamp(min=torch.finfo(rows.dtype).tiny)
    return lengths
