"""A rate that holds for the calibration set at hand, not on average over sets."""

import pytest
import torch
from scipy.stats import beta, binom

from wherefrom.calibration.conformal import guaranteed_rate, threshold_at_rate
from wherefrom.core.errors import InputError


@pytest.mark.parametrize("rate", [0.01, 0.05])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
@pytest.mark.parametrize("count", [500, 1000])
def test_it_is_the_largest_rank_that_keeps_the_promise__reference_binomial(rate, confidence, count):
    """P(Beta(k, n + 1 - k) > rate) = P(Binomial(n, rate) <= k - 1): fewer than k of n above."""
    result = guaranteed_rate(rate, count, confidence, what="rate")
    k = round(result * (count + 1))
    assert k / (count + 1) == result and k >= 1
    assert binom.cdf(k - 1, count, rate) <= 1 - confidence < binom.cdf(k, count, rate)
    assert beta.sf(rate, k, count + 1 - k) == pytest.approx(binom.cdf(k - 1, count, rate))
    assert result < rate


def test_the_error_rate_of_a_set_stays_below__limit():
    """Uniform scores: the true rate of a threshold t is 1 - t.  4,000 sets, 90 %: 89 to 91 %."""
    rng = torch.Generator().manual_seed(0)
    sets = torch.rand(4000, 200, generator=rng, dtype=torch.float64)
    cut = guaranteed_rate(0.05, 200, 0.9, what="rate")
    missed = torch.tensor([1 - threshold_at_rate(one, cut) for one in sets])
    kept = float((missed <= 0.05).double().mean())
    k = round(cut * 201)
    assert kept == pytest.approx(1 - binom.cdf(k - 1, 200, 0.05), abs=0.02) and kept >= 0.88
    on_average = torch.tensor([1 - threshold_at_rate(one, 0.05) for one in sets])
    assert float((on_average <= 0.05).double().mean()) < 0.7


def test_without_confidence_it_is_the_rate__limit():
    assert guaranteed_rate(0.05, 3, 0.0, what="rate") == 0.05


def test_too_few_images_or_no_confidence__rejects_count():
    assert guaranteed_rate(0.01, 459, 0.99, what="rate") == 1 / 460  # 0.99^459 = 0.00993
    with pytest.raises(InputError, match="458 held-out samples; use at least 459"):
        guaranteed_rate(0.01, 458, 0.99, what="rate")
    with pytest.raises(InputError, match=r"must lie in \[0, 1\)"):
        guaranteed_rate(0.01, 1000, 1.0, what="rate")
