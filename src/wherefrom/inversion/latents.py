"""Latents and classes as drawn in training, and the scale that latents get.

Cho: PhD thesis, Concordia University, 2025, Sections 3.2 and 3.5.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

UNIFORM_BOUND = 3**0.5  # of the uniform distribution with variance 1


def draw_latents(count: int, dimensions: int, kind: str, rng: torch.Generator) -> Tensor:
    """z (count, d_z) with mean 0 and variance 1: "normal", or "uniform" on +-sqrt 3."""
    if kind == "uniform":
        return (2 * torch.rand(count, dimensions, generator=rng) - 1) * UNIFORM_BOUND
    return torch.randn(count, dimensions, generator=rng)


def draw_classes(count: int, prior: Tensor, rng: torch.Generator) -> Tensor:
    """One-hot c (count, L, K) from P(C), (L, K) with rows that add up to 1."""
    rows = torch.multinomial(prior.cpu(), count, replacement=True, generator=rng)
    return F.one_hot(rows.T, prior.shape[1]).float()
