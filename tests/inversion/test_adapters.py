"""The same scores in other libraries' words; the base classes of PyOD and scikit-learn do the rest.

pytorch-ood is not installed here: its contract (`fit(loader)`, `predict(x)`, larger = outlier) is
tested without its base class.
"""

import sys

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from untrained_inverters import blobs, fitted_to, untrained

from wherefrom.core.errors import InputError, MissingExtraError
from wherefrom.detectors.adapters import pyod_base
from wherefrom.inversion.outliers import adapters
from wherefrom.inversion.outliers.adapters import (
    PytorchOodDetector,
    as_images,
    pyod_detector,
    sklearn_estimator,
)
from wherefrom.inversion.outliers.detecting import fit_constant, make_detector

OWN = blobs(80)
ODD = 1 - blobs(10, seed=6).round()


def model():
    return fitted_to(OWN)


def test_rows_and_images_are_the_same__roundtrip():
    flat = OWN.flatten(1).numpy()
    assert torch.equal(as_images(flat, (1, 8, 8)), OWN)
    assert torch.equal(as_images((OWN * 255).round().byte(), (1, 8, 8)), OWN)
    with pytest.raises(InputError, match=r"expected \(N, 1, 8, 8\) or \(N, 64\)"):
        as_images(flat[:, :10], (1, 8, 8))


def test_scikit_learn_gets_its_own_signs__reference_sklearn():
    fitted = model()
    estimator = sklearn_estimator(fitted, score="nll", fpr=0.05)
    assert isinstance(estimator, BaseEstimator) and isinstance(estimator, OutlierMixin)
    rows = OWN.flatten(1).numpy()
    with pytest.raises(NotFittedError):
        estimator.predict(rows)
    found = clone(estimator).fit(rows)
    assert found.get_params()["fpr"] == 0.05 and found.inverter is fitted
    nll = make_detector(fitted, "nll", 0.0).score(ODD).numpy()
    np.testing.assert_allclose(found.score_samples(ODD.numpy()), -nll)
    threshold = found.calibration_.threshold(0.05)
    np.testing.assert_allclose(found.decision_function(ODD.numpy()), threshold - nll)
    assert found.predict(ODD.numpy()).tolist() == np.where(nll > threshold, -1, 1).tolist()
    assert set(clone(estimator).fit_predict(rows)) <= {-1, 1}  # sklearn's own method
    codes = found.transform(rows)
    np.testing.assert_allclose(found.inverse_transform(codes), fitted.reconstruct(OWN), atol=1e-6)
    pipeline = make_pipeline(FunctionTransformer(lambda x: x / 2), clone(estimator))
    assert pipeline.fit(2 * rows).predict(2 * rows).tolist() == found.predict(rows).tolist()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_pyod_sets_its_own_threshold__reference_pyod():
    from pyod.models.base import BaseDetector

    fitted = model()
    detector = pyod_detector(fitted, score="two-sided", contamination=0.2)
    assert isinstance(detector, BaseDetector)
    rows = OWN.flatten(1).numpy()
    with pytest.raises(NotFittedError):
        detector.decision_function(rows)
    detector.fit(rows)
    centre = fit_constant(fitted, "two-sided", OWN)
    expected = make_detector(fitted, "two-sided", centre).score(OWN).numpy()
    np.testing.assert_allclose(detector.decision_scores_, expected)
    assert detector.threshold_ == pytest.approx(np.percentile(expected, 80))
    assert detector.labels_.sum() == 16
    odd = ODD.flatten(1).numpy()
    seen = detector.decision_function(odd)
    assert detector.predict(odd).tolist() == (seen > detector.threshold_).astype(int).tolist()
    chances = detector.predict_proba(odd)
    assert chances.shape == (10, 2) and np.allclose(chances.sum(1), 1)


def test_pytorch_ood_predicts_larger_for_outliers__closed_form():
    fitted = model()
    plain = PytorchOodDetector(fitted)
    assert not plain.requires_fit
    expected = fitted.negative_log_likelihood(fitted.encode(ODD))
    assert torch.equal(plain.fit([]).predict(ODD), expected)
    assert torch.equal(plain(ODD), expected)
    codes = fitted.encode(ODD)
    assert torch.equal(plain.fit_features(codes, torch.zeros(10)).predict_features(codes), expected)
    sided = PytorchOodDetector(fitted, score="two-sided")
    with pytest.raises(InputError, match="must be fitted first"):
        sided.predict(ODD)
    loader = [(part, torch.zeros(len(part))) for part in torch.split(OWN, 30)]
    centre = fit_constant(fitted, "two-sided", OWN)
    assert torch.allclose(sided.fit(loader).predict(ODD), (expected - centre).abs())
    with pytest.raises(InputError, match="score 'nll' only"):
        sided.predict_features(codes)


def test_an_absent_library_is_named__rejects_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod.models.base", None)
    for made in (adapters._pyod_class, pyod_base):
        made.cache_clear()
    with pytest.raises(MissingExtraError, match=r"wherefrom\[pyod\]"):
        pyod_detector(untrained())
    for made in (adapters._pyod_class, pyod_base):
        made.cache_clear()
