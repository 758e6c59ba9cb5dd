"""The evaluation's numbers against scikit-learn, SciPy and counting by hand."""

import json

import pytest
import torch
from scipy.stats import beta
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from wherefrom.attribution import evaluate
from wherefrom.core.errors import InputError


@pytest.fixture(scope="module")
def sources(generator, smooth):
    """Own images, and two sources of 12 and 7."""
    own = generator.sample(20, seed=77)
    near = (own[:12] + 0.05 * torch.rand(12, 3, 32, 32)).clamp(0, 1)
    return own, {"near": near, "smooth": smooth(7, 9)}


def test_numbers_are_those_of_the_scores__reference_sklearn_and_scipy(fitted, sources):
    own, others = sources
    result = evaluate(fitted, own, others)
    own_scores = fitted.score(own)
    assert result.scores["own"] == tuple(own_scores.tolist())
    for row, (name, images) in zip(result.others, others.items(), strict=True):
        scores = fitted.score(images)
        assert row.source == name and row.count == len(images)
        assert result.scores[name] == tuple(scores.tolist())
        labels = [0] * 20 + [1] * len(images)
        joined = torch.cat([own_scores, scores])
        assert row.auroc == pytest.approx(roc_auc_score(labels, joined.numpy()))
        predicted = (joined > fitted.threshold).int().numpy()
        assert row.accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
        hits = int((scores > fitted.threshold).sum())
        assert row.rejected == hits / len(images)
        if hits > 0:
            low = beta.ppf(0.025, hits, len(images) - hits + 1)
            assert row.low == pytest.approx(low, rel=1e-6)
        assert row.verdicts == fitted.check(images).counts()
    assert result.mean_accuracy == pytest.approx(sum(r.accuracy for r in result.others) / 2)


def test_the_own_row_tells_the_share_kept__closed_form(fitted, sources):
    own, others = sources
    row = evaluate(fitted, own, others).own
    rejected = int((fitted.score(own) > fitted.threshold).sum())
    assert row.source == "own" and row.count == 20 and row.auroc is None
    assert row.rejected == rejected / 20 and row.accuracy == 1 - rejected / 20
    assert row.low <= row.rejected <= row.high


def test_the_result_is_json__roundtrip(fitted, sources):
    result = evaluate(fitted, *sources).to_dict()
    assert json.loads(json.dumps(result)) == result
    assert result["threshold"] == fitted.threshold
    assert result["false_negative_rate"] == 0.05


def test_sources_that_cannot_be_judged__rejects_sources(fitted, sources):
    own, others = sources
    with pytest.raises(InputError, match="cannot be called 'own'"):
        evaluate(fitted, own, {"own": own})
    for arguments in ((own, {}), (own[:0], others), (own, {"none": own[:0]})):
        with pytest.raises(InputError, match="at least one other source, none empty"):
            evaluate(fitted, *arguments)
