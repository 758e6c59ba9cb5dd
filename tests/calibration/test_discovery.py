"""Discoveries: the step-up rule, its rate under the null, refusals."""

import pytest
import torch

from wherefrom.calibration.conformal import upper_p_values
from wherefrom.calibration.discovery import discoveries
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream


def step_up(p_values, rate):
    """Benjamini and Hochberg, 1995, as printed: the largest k with p_(k) <= k q / m."""
    ordered = sorted(p_values)
    last = max((k for k, p in enumerate(ordered, 1) if p <= k * rate / len(ordered)), default=0)
    return [last > 0 and p <= ordered[last - 1] for p in p_values]


@pytest.mark.parametrize("seed", range(6))
def test_the_step_up_rule__naive_loop(seed):
    rng = stream(seed, "p")
    p_values = (torch.rand(40, generator=rng) ** 3).tolist()
    for rate in (0.01, 0.05, 0.2, 0.6):
        assert discoveries(p_values, rate).tolist() == step_up(p_values, rate)


def test_share_of_wrong_discoveries_is_at_most_the_rate__limit():
    """30 own images among 50; p-values from one calibration set, as in `check`."""
    rate, shares = 0.2, []
    for trial in range(300):
        rng = stream(trial, "null")
        calibration, own = torch.randn(200, generator=rng), torch.randn(30, generator=rng)
        rivals = 3 + torch.randn(20, generator=rng)
        p_values = upper_p_values(torch.cat([own, rivals]), calibration).tolist()
        result = discoveries(p_values, rate)
        shares.append(int(result[:30].sum()) / max(1, int(result.sum())))
    # Its mean is at most 0.2 * 30 / 50 = 0.12, with a standard error below 0.01.
    assert 0.05 < sum(shares) / len(shares) < 0.15


def test_a_p_value_equal_to_its_bound_is_rejected__closed_form():
    """Two of two may reach 0.25, one of two 0.125: all of them exact in binary."""
    assert discoveries([0.25], 0.25).tolist() == [True] and not discoveries([0.26], 0.25)[0]
    assert discoveries([0.25, 0.25], 0.25).tolist() == [True, True]
    assert discoveries([0.5, 0.125], 0.25).tolist() == [False, True]
    assert discoveries([0.5, 0.13], 0.25).tolist() == [False, False]


def test_nothing_to_judge__limit():
    result = discoveries([], 0.1)
    assert (result.shape, result.dtype) == ((0,), torch.bool)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_rate__rejects_rate(rate):
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        discoveries([0.5], rate)
