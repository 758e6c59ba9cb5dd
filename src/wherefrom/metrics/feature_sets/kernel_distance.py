"""The kernel distance of two feature sets: an unbiased squared MMD with a cubic kernel.

Binkowski et al.: Demystifying MMD GANs, ICLR 2018 (there with Inception-V3 features, as KID).
"""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.metrics.feature_sets.samples import checked_pair

ROWS = 1024  # rows of a kernel matrix at a time


def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Unbiased MMD^2 of (n, d) and (m, d) with k(x, y) = (x . y / d + 1)^3; float64.

    It is 0 on average for sets of one distribution, so it can be slightly negative, and it does not
    depend on n and m on average.  Fewer than 2 rows are an `InputError`.

    Deviation: the paper averages over random subsets; here every pair counts once, which estimates
    the same with less noise and no seed.
    """
    x, y = checked_pair(real, generated, at_least=2, what="the kernel distance")
    within = _mean_of_pairs(x) + _mean_of_pairs(y)
    return within - 2 * float(_kernel_sum(x, y)) / (len(x) * len(y))


def _mean_of_pairs(x: Tensor) -> float:
    """Mean of k over ordered pairs of different rows."""
    own = ((x.square().sum(1) / x.shape[1] + 1) ** 3).sum()
    return float(_kernel_sum(x, x) - own) / (len(x) * (len(x) - 1))


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    sums = [((part @ y.T) / x.shape[1] + 1).pow(3).sum() for part in torch.split(x, ROWS)]
    return torch.stack(sums).sum()
