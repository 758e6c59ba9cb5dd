import itertools

import pytest
import torch

from wherefrom.calibration.family import holm_adjusted, require_family
from wherefrom.core.errors import InputError


def step_down(p_values, rate):
    """As in the paper: compare the i-th smallest with rate / (N - i + 1), stop at the first."""
    rejected = [False] * len(p_values)
    for done, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > rate / (len(p_values) - done):
            break
        rejected[i] = True
    return rejected


def closed_testing(p_values, rate):
    """Reject i if Bonferroni rejects every intersection that holds i."""
    places = range(len(p_values))
    sets = [s for k in range(1, len(p_values) + 1) for s in itertools.combinations(places, k)]
    return [
        all(min(p_values[j] for j in s) <= rate / len(s) for s in sets if i in s) for i in places
    ]


def test_adjusted_values_reject_as_the_paper_and_closed_testing_do__naive_loop():
    rng = torch.Generator().manual_seed(0)
    for count in (1, 2, 3, 5):
        for _ in range(40):
            p = (torch.rand(count, generator=rng, dtype=torch.float64) ** 3).tolist()
            for rate in (0.01, 0.05, 0.3):
                result = (holm_adjusted(p) <= rate).tolist()
                assert result == step_down(p, rate) == closed_testing(p, rate)


def test_known_values_with_ties_and_none__closed_form():
    assert holm_adjusted([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm_adjusted([0.5, 0.5]).tolist() == [1.0, 1.0]
    assert holm_adjusted([]).tolist() == []


def test_any_false_rejection_is_as_rare_as_asked_for__limit():
    rng = torch.Generator().manual_seed(1)
    common = torch.rand(800, 1, generator=rng, dtype=torch.float64)
    alone = torch.rand(800, 4, generator=rng, dtype=torch.float64)
    most = 0.05 + 3 * (0.05 * 0.95 / 800) ** 0.5  # three deviations of a share of 800
    for p in (alone, common.expand(-1, 4)):
        hits = [bool((holm_adjusted(row.tolist()) <= 0.05).any()) for row in p]
        assert sum(hits) / len(hits) <= most


def test_impossible_rates_and_values__rejects():
    with pytest.raises(InputError, match="outside"):
        holm_adjusted([0.1, 1.5])
    with pytest.raises(InputError, match="needs 199 held-out images"):
        require_family(0.01, [1 / 101, 1 / 1001], what="family-wise error")
    require_family(0.01, [1 / 200, 1 / 1001], what="family-wise error")
