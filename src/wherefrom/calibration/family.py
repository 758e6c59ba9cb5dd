"""Several hypotheses tested together: a bound on the chance of any false rejection.

Holm: A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics
1979.  The chance of any false rejection is at most the rate, whatever the dependence between the
p-values; that matters here, because they are all about one image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wherefrom.core.errors import InputError


def holm_adjusted(p_values: Sequence[float]) -> Tensor:
    """Adjusted p-values, (N,) float64: rejecting those of at most `rate` errs at most so often.

    The i-th smallest of N becomes the largest of (N - j + 1) p_(j), j <= i, and at most 1.
    """
    p = torch.tensor(p_values, dtype=torch.float64)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise InputError(f"p-values {list(p_values)} hold one outside [0, 1]")
    order = torch.argsort(p, stable=True)
    factors = torch.arange(len(p), 0, -1, dtype=torch.float64)
    steps = (factors * p[order]).cummax(dim=0).values if len(p) else p
    adjusted = torch.empty_like(p)
    adjusted[order] = steps.clamp_max(1)
    return adjusted


def require_family(rate: float, smallest: Sequence[float], *, what: str) -> None:
    """An `InputError` if one of N tests could never reject: its smallest p-value exceeds rate / N.

    `smallest`: 1 / (n + 1) of a conformal test on n scores.
    """
    if not 0 < rate < 1:
        raise InputError(f"the {what} is {rate}, but it must lie strictly between 0 and 1")
    worst = max(smallest, default=0.0)
    if worst * len(smallest) > rate:
        needed = math.ceil(len(smallest) / rate) - 1
        raise InputError(
            f"a {what} of {rate:g} over {len(smallest)} tests needs {needed} held-out images "
            f"behind each, and one has {round(1 / worst) - 1}; raise it to at least "
            f"{worst * len(smallest):.4g}, or fit with more other images"
        )
