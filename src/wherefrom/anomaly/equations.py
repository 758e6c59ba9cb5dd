"""Complexity, vulnerability and AS-i, one pure function per equation.

Hwang, Lee, Lee: Anomaly Score: Evaluating Generative Models and Individual Generated Images based
on Complexity and Vulnerability, CVPR 2024.

Symbols:
    x      an image, (3, H, W) in [0, 1];  x^k the image after k steps
    M      the feature model;  M(x) is (D,), not brought to unit length
    n      a noise direction, (3, H, W), of unit L2 norm over all its values
    eps    length of a noise step;  K their number
    alpha  change of every value in an attack step;  J the number of attack steps
    C      complexity, radians, in [0, pi];  V vulnerability, in units of M(x)
"""

from __future__ import annotations

import torch
from torch import Tensor


def path(x: Tensor, n: Tensor, eps: float, K: int, *, clamp: bool) -> Tensor:
    """x^k = x + k * eps * n for k = 1 .. K, (..., K, 3, H, W), of x and n (..., 3, H, W)."""
    k = torch.arange(1, K + 1, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
    moved = x.unsqueeze(-4) + k * eps * n.unsqueeze(-4)
    return moved.clamp(0, 1) if clamp else moved


def angles(points: Tensor) -> Tensor:
    """Angles between consecutive steps of feature paths (..., K + 1, D), (..., K - 1) float64.

        angle_k = arccos( <d^k, d^(k+1)> / (|d^k| |d^(k+1)|) ),   d^k = M(x^k) - M(x^(k-1))

    A step of length zero has no direction: its angles are NaN.

    Deviation: computed as 2 atan2(|a - b|, |a + b|) of the unit steps a, b.  It is the same angle;
    arccos of a float32 cosine cannot tell angles below 3e-4 apart and is NaN above 1.
    """
    d = points.double().diff(dim=-2)
    unit = d / torch.linalg.vector_norm(d, dim=-1, keepdim=True)
    a, b = unit[..., :-1, :], unit[..., 1:, :]
    across: Tensor = torch.linalg.vector_norm(a - b, dim=-1)
    angle: Tensor = 2 * torch.atan2(across, torch.linalg.vector_norm(a + b, dim=-1))
    return angle


def still_steps(points: Tensor) -> Tensor:
    """How many of the K steps of feature paths (..., K + 1, D) have length zero, (...) int64."""
    d = points.double().diff(dim=-2)
    lengths: Tensor = torch.linalg.vector_norm(d, dim=-1)
    return (lengths == 0).sum(dim=-1)


def complexity(points: Tensor) -> Tensor:
    """C of feature paths (..., K + 1, D), (...) float64: the mean of their K - 1 angles.

        C(x) = 1 / (K - 1) * sum_k angle_k

    Angles that do not exist are left out; C is NaN where none exists.
    """
    mean: Tensor = angles(points).nanmean(dim=-1)
    return mean


def attack_step(
    x_j: Tensor, x: Tensor, gradient: Tensor, alpha: float, bound: float, *, clamp: bool
) -> Tensor:
    """x^(j+1) = x^j + alpha * sign(gradient of |M(x^j) - M(x)|^2 by x^j): it climbs.

    With a `bound` above 0, no value leaves [x - bound, x + bound].

    Deviation: the authors' public code subtracts where this adds, so that its steps approach M(x)
    again and its V is not the paper's; see `PRESETS["public-code-fixed"]`.
    """
    moved = x_j + alpha * gradient.sign()
    if bound > 0:
        moved = x + (moved - x).clamp(-bound, bound)
    return moved.clamp(0, 1) if clamp else moved


def vulnerability(clean: Tensor, attacked: Tensor) -> Tensor:
    """V(x) = |M(x) - M(x^J)|_2 of features (..., D), (...) float64."""
    distance: Tensor = torch.linalg.vector_norm(clean.double() - attacked.double(), dim=-1)
    return distance


def anomaly_vectors(C: Tensor, V: Tensor) -> Tensor:
    """A(X) = {[C(x), V(x)]}, (N, 2) float64."""
    return torch.stack([C.double(), V.double()], dim=-1)


def as_i(C: Tensor, V: Tensor) -> Tensor:
    """AS-i(x) = V(x) / C(x), (N,) float64; infinite where C is 0."""
    return V.double() / C.double()
