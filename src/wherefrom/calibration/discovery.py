"""False-discovery control over many images: a bound on the share of wrong positive answers.

Benjamini and Hochberg: Controlling the False Discovery Rate, JRSS B 1995.  Conformal p-values that
share one calibration set are positively dependent, so the procedure holds for them (Bates et al.:
Testing for Outliers with Conformal p-values, Annals of Statistics 2023, Theorem 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wherefrom.core.errors import InputError


def discoveries(p_values: Sequence[float], rate: float) -> Tensor:
    """Which hypotheses to reject, (N,) bool, so that at most `rate` of them are true on average."""
    if not 0 < rate < 1:
        raise InputError(
            f"the false-discovery rate is {rate}, but it must lie strictly between 0 and 1"
        )
    if len(p_values) < 2:  # nothing to correct, and scipy.stats takes its time to import
        return torch.tensor(p_values, dtype=torch.float64) <= rate
    from scipy.stats import false_discovery_control

    return torch.from_numpy(false_discovery_control(list(p_values), method="bh") <= rate)
