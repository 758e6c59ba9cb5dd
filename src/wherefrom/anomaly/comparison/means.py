"""The paper's t-tests of the mean of C and of V between real and generated images.

Hwang, Lee, Lee: Anomaly Score, CVPR 2024, Tab. E.1 (one-tailed) and Tab. C.1 (two-tailed).

The paper expects C to be smaller and V to be larger for generated images; its tables print no
one-tailed p-value where the means lie the other way round.

Deviation: the paper does not say which t-test; this is Welch's, which does not need equal
variances.  With sets of equal size its statistic is that of Student's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from wherefrom.core.errors import InputError

Expected = Literal["smaller", "larger"]
LEVEL = 0.95


@dataclass(frozen=True)
class MeanTest:
    """Two means, and the p-values of their difference.

    `p_one` asks whether the generated mean is `expected` (smaller or larger) than the real one,
    `p_two` whether it differs; `low` and `high` bound the difference generated - real at 95 %.
    `as_expected` is the sign alone.
    """

    real: float
    generated: float
    expected: Expected
    p_one: float
    p_two: float
    low: float
    high: float
    real_count: int
    generated_count: int

    @property
    def as_expected(self) -> bool:
        """Whether the generated mean lies on the side that the paper expects."""
        above = self.generated > self.real
        return above if self.expected == "larger" else self.generated < self.real

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"as_expected": self.as_expected}


def mean_test(real: Tensor, generated: Tensor, *, expected: Expected) -> MeanTest:
    """Welch's t-test of (n,) against (m,), NaN left out, both tails and the expected one.

    At least 2 values of each that are not all equal are needed, else `InputError`.
    """
    from scipy.stats import ttest_ind

    x, y = (values[~torch.isnan(values)].double().cpu().numpy() for values in (real, generated))
    if min(len(x), len(y)) < 2 or (x.std() == 0 and y.std() == 0):
        raise InputError(
            f"a t-test needs at least 2 values on either side that are not all equal, but there "
            f"are {len(x)} real and {len(y)} generated"
        )
    tail = "less" if expected == "smaller" else "greater"
    two = ttest_ind(y, x, equal_var=False)
    low, high = two.confidence_interval(confidence_level=LEVEL)
    return MeanTest(
        real=float(x.mean()),
        generated=float(y.mean()),
        expected=expected,
        p_one=float(ttest_ind(y, x, equal_var=False, alternative=tail).pvalue),
        p_two=float(two.pvalue),
        low=float(low),
        high=float(high),
        real_count=len(x),
        generated_count=len(y),
    )
