"""KernelSHAP's weights: how often subsets of each size are drawn, and how much they count.

Eq. 5 weighs a subset by its size (`equations.size_law`).  A pair is a subset and its complement.
"""

from __future__ import annotations

import numpy as np

from wherefrom.credit.equations import size_law
from wherefrom.credit.ledger.game import Floats, Ints


def half_sizes(n: int) -> Ints:
    """The sizes that a pair of a subset and its complement can have, named by the smaller."""
    return np.arange(1, n // 2 + 1)


def pair_kernel(n: int) -> Floats:
    """Probability under Eq. 5 that a pair has each of `half_sizes`."""
    folded = size_law(n)[: n // 2] * 2
    return _middle_once(folded, n)


def pair_uniform(n: int) -> Floats:
    """Probability of each of `half_sizes` when every subset is equally likely (Banzhaf)."""
    from scipy.special import gammaln  # slow to import

    s = half_sizes(n).astype(np.float64)
    # In logarithms: C(n, s) and 2^n are no floats above 1,023 contributors.
    count = gammaln(n + 1) - gammaln(s + 1) - gammaln(n - s + 1) - (n - 1) * np.log(2)
    return _middle_once(np.exp(count), n)


def pair_law(n: int) -> Floats:
    """How often the paired design draws each of `half_sizes`.

    Deviation: the geometric mean of Eq. 5's law and of the law that draws all sizes equally often;
    the estimator weighs the difference out.  Of all laws it lets noise of equal size in every run
    do the least to the shares (Cauchy and Schwarz).  Eq. 5 spends 30 % of the runs on single
    contributors at n = 20, which say least about a share when runs are noisy.
    """
    law = np.sqrt(pair_kernel(n) * _middle_once(np.ones(n // 2), n))
    law /= law.sum()
    return law


def _middle_once(law: Floats, n: int) -> Floats:
    # A subset of half the contributors and its complement are both of that size.
    law = law.astype(np.float64)
    if n % 2 == 0:
        law[-1] /= 2
    law /= law.sum()
    return law
