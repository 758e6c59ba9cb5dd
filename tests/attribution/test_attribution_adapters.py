"""Attributors and Deep SAD as other libraries' detectors; their base classes do the rest."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.exceptions import NotFittedError

from wherefrom.attribution.evaluation.adapters import (
    deep_sad_detector,
    deep_sad_estimator,
    pyod_detector,
    sklearn_estimator,
)
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import stream
from wherefrom.detectors.deep_sad import DeepSadConfig, fit_deep_sad

TINY = DeepSadConfig(epochs=4, batch=32, representation=8)


def features(count=80, dimension=6, seed=0):
    """Inliers on a plane of two dimensions, and outliers off it."""
    rng = stream(seed, "features")
    plane = torch.randn(2, dimension, generator=rng)
    inliers = torch.randn(count, 2, generator=rng) @ plane
    outliers = 2 * torch.randn(count // 2, dimension, generator=rng)
    x = torch.cat([inliers, outliers]).numpy()
    return x, np.r_[np.ones(count), -np.ones(count // 2)]


def test_an_attributor_for_scikit_learn__reference_sklearn(fitted, generator, smooth):
    estimator = sklearn_estimator(fitted, fpr=0.05)
    assert isinstance(estimator, BaseEstimator) and isinstance(estimator, OutlierMixin)
    own, others = generator.sample(30, seed=5), smooth(10, 5)
    with pytest.raises(NotFittedError):
        estimator.predict(own.numpy())
    found = clone(estimator).fit(own.flatten(1).numpy())
    assert found.get_params() == {"attributor": fitted, "fpr": 0.05}
    scores = fitted.score(others)
    np.testing.assert_array_equal(found.score_samples(others.numpy()), -scores.numpy())
    threshold = threshold_at_rate(fitted.score(own), 0.05)
    np.testing.assert_allclose(
        found.decision_function(others.numpy()), threshold - scores.numpy(), rtol=1e-12
    )
    assert found.predict(others.numpy()).tolist() == [-1 if s > threshold else 1 for s in scores]
    by_itself = clone(estimator).fit()
    assert -by_itself.offset_ == fitted.threshold  # the same rate, the same calibration images


def test_an_attributor_for_pyod__reference_pyod(fitted, generator, smooth):
    from pyod.models.base import BaseDetector

    detector = pyod_detector(fitted, contamination=0.1)
    assert isinstance(detector, BaseDetector)
    own = generator.sample(40, seed=6).numpy()
    detector.fit(own)
    scores = fitted.score(torch.from_numpy(own)).numpy()
    np.testing.assert_array_equal(detector.decision_scores_, scores)
    assert detector.threshold_ == pytest.approx(np.percentile(scores, 90))
    assert detector.labels_.sum() == 4
    others = smooth(10, 6).numpy()
    assert (
        detector.predict(others).tolist()
        == (fitted.score(torch.from_numpy(others)).numpy() > detector.threshold_)
        .astype(int)
        .tolist()
    )


def test_deep_sad_on_features__reference_fit_deep_sad():
    x, y = features()
    found = deep_sad_estimator(config=TINY, fpr=0.1, seed=3).fit(x, y)
    new, labels = features(seed=0)
    held = np.random.default_rng(3).permutation(np.flatnonzero(y >= 0))[:16]
    kept = np.setdiff1d(np.arange(len(x)), held)
    plain = fit_deep_sad(
        torch.from_numpy(x[kept]).float(), torch.from_numpy(y[kept]).float(), config=TINY, seed=3
    )
    expected = plain.score(torch.from_numpy(new).float())
    np.testing.assert_array_equal(found.score_samples(new), -expected.numpy())
    assert -found.offset_ == threshold_at_rate(plain.score(torch.from_numpy(x[held])), 0.1)
    called = found.predict(new) == -1
    assert called[labels == -1].mean() > 0.8
    assert called[labels == 1].mean() < 0.3
    assert clone(found).get_params()["config"] == TINY


def test_deep_sad_without_labels_and_for_pyod__reference_pyod():
    from pyod.models.base import BaseDetector

    x, y = features()
    alone = deep_sad_estimator(config=TINY, fpr=0.1).fit(x[y > 0])
    assert set(alone.predict(x)) <= {-1, 1}
    detector = deep_sad_detector(config=TINY, contamination=1 / 3)
    assert isinstance(detector, BaseDetector)
    labels = (y < 0).astype(int)  # PyOD's: 1 is an outlier
    detector.fit(x, labels)
    plain = fit_deep_sad(
        torch.from_numpy(x).float(), -torch.from_numpy(labels).float(), config=TINY
    )
    expected = plain.score(torch.from_numpy(x).float()).numpy()
    np.testing.assert_array_equal(detector.decision_scores_, expected)
    assert (detector.labels_ == labels).mean() > 0.8
