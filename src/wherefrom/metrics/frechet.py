"""The Frechet distance of two feature sets, without a matrix square root.

Heusel et al.: GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium,
NeurIPS 2017 (there with Inception-V3 features, as FID).

Symbols:
    X, Y    real and generated features, (n, d) and (m, d)
    A, B    the same, centred, over sqrt(n - 1) and sqrt(m - 1): A^T A and B^T B are the covariances
"""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.metrics.samples import checked_pair


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """FD = ||mean X - mean Y||^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) of (n, d) and (m, d).

    The last trace is the nuclear norm of A B^T, a sum of singular values: it is real and at least 0
    whatever the ranks, where a square root of the product S1 S2 gives complex numbers or fails.
    With more images than features, A and B are first replaced by their triangular factors, which
    have the same covariances.  float64; smaller = closer.  Fewer than 2 rows are an `InputError`.

    The value shrinks as n and m grow; compare sets of equal size only.
    """
    x, y = checked_pair(real, generated, at_least=2, what="the Frechet distance")
    shift = x.mean(0) - y.mean(0)
    a, b = _root(x), _root(y)
    cross = torch.linalg.svdvals(a @ b.T).sum()
    distance = shift.square().sum() + a.square().sum() + b.square().sum() - 2 * cross
    return max(0.0, float(distance))  # identical sets end one rounding below 0


def _root(features: Tensor) -> Tensor:
    """R with R^T R = the covariance, at most as many rows as columns."""
    centred: Tensor = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    if len(centred) <= centred.shape[1]:
        return centred
    factor: Tensor = torch.linalg.qr(centred, mode="r").R
    return factor
