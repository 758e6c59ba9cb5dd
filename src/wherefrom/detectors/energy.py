"""The energy of a classifier's logits as an anomaly score, with rectified activations.

Liu et al.: Energy-based Out-of-distribution Detection, NeurIPS 2020; Sun, Guo, Li: ReAct:
Out-of-distribution Detection With Rectified Activations, NeurIPS 2021.  Baselines of Section 4.3
of the thesis on invertible generators.

Symbols:
    f    logits, (N, K), or (N, L, K) of L labels
    T    temperature
    h    activations before the last layer, (N, F)
    c    the value at which they are cut
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import InputError


def energy(f: Tensor, *, temperature: float = 1.0) -> Tensor:
    """E(x) = -T log sum_k exp(f_k / T), (N,) float64: larger = more anomalous.

    Logits (N, L, K) of several labels give the sum of their energies.
    """
    if temperature <= 0:
        raise InputError(f"the temperature is {temperature}; choose one above 0")
    if f.ndim not in (2, 3):
        raise InputError(f"logits of shape {tuple(f.shape)}, expected (N, K) or (N, L, K)")
    energies = -temperature * torch.logsumexp(f.double() / temperature, dim=-1)
    return energies if f.ndim == 2 else energies.sum(dim=1)


def react_cap(h: Tensor, percentile: float) -> float:
    """c: the quantile `percentile` of all activations (N, F) of own images; infinite at 1.

    At 1 nothing is cut, so an activation larger than any known one keeps its size.
    """
    if not 0 < percentile <= 1:
        raise InputError(f"the percentile is {percentile}; choose one in (0, 1]")
    if not h.numel():
        raise InputError("there are no activations to take a percentile of; give own images")
    return float("inf") if percentile == 1 else float(np.quantile(h.double().numpy(), percentile))


def rectify(h: Tensor, cap: float) -> Tensor:
    """min(h, c), element by element.  ReAct, Eq. 2."""
    return h.clamp_max(cap)
