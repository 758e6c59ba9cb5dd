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

from wherefrom.core.errors import InputError
from wherefrom.metrics.feature_sets.samples import checked, checked_pair


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


def frechet_from_moments(mean: Tensor, covariance: Tensor, generated: Tensor) -> float:
    """`frechet_distance` where of the real features only mean (d,) and covariance (d, d) are known.

    tr (S1 S2)^(1/2) is the nuclear norm of S1^(1/2) B^T, the root by eigenvalues; those below 0 by
    rounding count as 0.  Statistics of another length than the features are an `InputError`: they
    hold for the encoder that made them, and no other.
    """
    y = checked(generated, at_least=2, what="the Frechet distance", whose="generated")
    if len(mean) != y.shape[1]:
        raise InputError(
            f"the statistics mu and sigma are of {len(mean)} features, this encoder gives "
            f"{y.shape[1]}; name the encoder that made them"
        )
    values, vectors = torch.linalg.eigh(covariance.double().to(y.device))
    root = vectors * values.clamp_min(0).sqrt()
    b = _root(y)
    cross = torch.linalg.svdvals(root.T @ b.T).sum()
    shift = mean.double().to(y.device) - y.mean(0)
    distance = shift.square().sum() + values.clamp_min(0).sum() + b.square().sum() - 2 * cross
    return max(0.0, float(distance))


def _root(features: Tensor) -> Tensor:
    """R with R^T R = the covariance, at most as many rows as columns."""
    centred: Tensor = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    if len(centred) <= centred.shape[1]:
        return centred
    factor: Tensor = torch.linalg.qr(centred, mode="r").R
    return factor
