"""The regression that gives each super-pixel its contribution.  Supplement D of the paper."""

from __future__ import annotations

import torch
from torch import Tensor


def regress(v: Tensor, Y: Tensor) -> Tensor:  # noqa: N803
    """W (S,) of Y = v W + b by least squares, the solution of least norm; v (T, S), Y (T,)."""
    A = torch.cat([v.double(), torch.ones(len(v), 1, dtype=torch.float64)], dim=1)  # noqa: N806
    solved = torch.linalg.lstsq(A, Y.double()[:, None], driver="gelsd").solution
    weights: Tensor = solved[:-1, 0]
    return weights
