"""Ranks and what follows from them."""

import pytest
import torch
from sklearn.metrics import label_ranking_average_precision_score

from wherefrom.core.errors import InputError
from wherefrom.metrics.retrieval import (
    accuracy,
    mean_average_precision,
    rank_curve,
    worst_ranks,
)


def test_average_precision_of_one_right_item__reference_sklearn():
    scores = torch.randn(30, 12, dtype=torch.float64)
    right = torch.randint(12, (30,))
    truth = torch.nn.functional.one_hot(right, 12).numpy()
    wanted = label_ranking_average_precision_score(truth, scores.numpy())
    ranks = worst_ranks(scores, right)
    assert mean_average_precision(ranks) == pytest.approx(wanted, rel=1e-12)
    assert accuracy(ranks) == float((scores.argmax(dim=1) == right).double().mean())


def test_ties_rank_before_the_right_item__closed_form():
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.1, 0.5, 0.5]])
    assert worst_ranks(scores, torch.tensor([0, 0])).tolist() == [2, 3]


def test_curve_counts_the_first_k__closed_form():
    ranks = torch.tensor([1, 1, 3, 10])
    assert rank_curve(ranks, (1, 2, 3, 10)) == (0.5, 0.5, 0.75, 1.0)
    assert mean_average_precision(ranks) == pytest.approx((1 + 1 + 1 / 3 + 0.1) / 4)


@pytest.mark.parametrize("ranks", [torch.zeros(0, dtype=torch.int64), torch.tensor([0, 1])])
def test_impossible_ranks__rejects_ranks(ranks):
    with pytest.raises(InputError, match="from 1 up"):
        accuracy(ranks)
