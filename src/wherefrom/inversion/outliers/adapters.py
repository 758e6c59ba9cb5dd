"""A fitted inverter as a detector of scikit-learn, PyOD and pytorch-ood.

Each adapter is thin: the score is that of `make_detector`, the calibration that of
`calibrate_outliers`.  Images are arrays (N, C, H, W) or rows (N, C * H * W), uint8 or float in
[0, 1].  scikit-learn is always there; PyOD is the extra `pyod`; for pytorch-ood nothing is needed,
as its contract is met without its base class.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import to_uint8
from wherefrom.detectors.adapters import as_images, pyod_base, sklearn_base
from wherefrom.detectors.protocol import Detector
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.outliers.calibrated import OutlierConfig, OwnImages, calibrate_outliers
from wherefrom.inversion.outliers.detecting import fit_constant, make_detector

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Array = NDArray[Any]


@cache
def _sklearn_class() -> type[Any]:
    from sklearn.base import TransformerMixin

    class InverterEstimator(TransformerMixin, sklearn_base()):  # type: ignore[misc]
        """Outliers and codes of a fitted inverter, as scikit-learn's estimators give them.

        `fit` calibrates on own images that the model was not trained on.  scikit-learn's signs:
        `score_samples` and `decision_function` are larger for normal images, `predict` gives 1 for
        them and -1 for outliers.  `transform` encodes, `inverse_transform` decodes.
        """

        def __init__(
            self, inverter: FittedInverter, score: str = "auto", fpr: float = 0.05, seed: int = 0
        ) -> None:
            self.inverter, self.score, self.fpr, self.seed = inverter, score, fpr, seed

        def __sklearn_clone__(self) -> InverterEstimator:
            return type(self)(self.inverter, self.score, self.fpr, self.seed)  # a value, not copied

        def fit(self, X: Array, y: object = None) -> Self:  # noqa: N803 (scikit-learn's name)
            own = OwnImages.distinct(to_uint8(as_images(X, self.inverter.shape)))
            self.calibration_ = calibrate_outliers(
                self.inverter,
                own.images,
                keys=own.keys,
                config=OutlierConfig(score=self.score),
                seed=self.seed,
            )
            self.detector_ = self.calibration_.detector(self.inverter)
            self.offset_ = -self.calibration_.threshold(self.fpr)
            return self

        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            return self.detector_.score(as_images(X, self.inverter.shape))

        def transform(self, X: Array) -> Array:  # noqa: N803
            codes: Array = self.inverter.encode(as_images(X, self.inverter.shape)).cpu().numpy()
            return codes

        def inverse_transform(self, X: Array) -> Array:  # noqa: N803
            images: Array = self.inverter.decode(torch.as_tensor(X)).cpu().numpy()
            return images

    return InverterEstimator


def sklearn_estimator(
    fitted: FittedInverter, *, score: str = "auto", fpr: float = 0.05, seed: int = 0
) -> BaseEstimator:
    """An unfitted scikit-learn outlier detector and transformer over a trained model."""
    return _sklearn_class()(fitted, score, fpr, seed)


@cache
def _pyod_class() -> type[Any]:
    class InverterOutlierDetector(pyod_base()):  # type: ignore[misc]
        """A fitted inverter's score as a PyOD detector: larger = more anomalous.

        `fit` takes own images and sets PyOD's threshold at its `contamination`, which is a share of
        these very images.
        """

        def __init__(
            self, inverter: FittedInverter, score: str = "nll", contamination: float = 0.1
        ) -> None:
            super().__init__(contamination=contamination)
            self.inverter, self.score = inverter, score

        def prepare(self, X: Array, y: Array | None) -> None:  # noqa: N803 (PyOD's name)
            x = as_images(X, self.inverter.shape)
            constant = fit_constant(self.inverter, self.score, x)
            self.scorer_ = make_detector(self.inverter, self.score, constant)

        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            return self.scorer_.score(as_images(X, self.inverter.shape))

    return InverterOutlierDetector


def pyod_detector(fitted: FittedInverter, *, score: str = "nll", contamination: float = 0.1) -> Any:
    """An unfitted PyOD detector over a trained model; `MissingExtraError` without PyOD."""
    return _pyod_class()(fitted, score, contamination)


class PytorchOodDetector:
    """A fitted inverter's score in pytorch-ood's contract: `fit(loader)`, `predict(x)`.

    Larger = more likely out-of-distribution.  Scores without a constant (`nll`, `reconstruction`)
    need no `fit`.  `predict_features` takes codes, for "extract once, compare many".
    """

    def __init__(self, fitted: FittedInverter, *, score: str = "nll") -> None:
        self.fitted, self.score = fitted, score
        self.requires_fit = score in ("two-sided", "energy")
        self.detector: Detector | None = None if self.requires_fit else self._make(0.0)

    def fit(self, data_loader: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """Find what the score needs on batches (x, y) of own images; labels are not looked at."""
        if self.requires_fit:
            x = torch.cat([as_images(batch[0], self.fitted.shape) for batch in data_loader])
            self.detector = self._make(fit_constant(self.fitted, self.score, x))
        return self

    def predict(self, x: Tensor) -> Tensor:
        """(N,) float64 of images (N, C, H, W)."""
        if self.detector is None:
            raise InputError(f"the score {self.score!r} must be fitted first; call fit(loader)")
        return self.detector.score(as_images(x, self.fitted.shape))

    __call__ = predict

    def fit_features(self, z: Tensor, y: Tensor | None = None) -> Self:
        """Does nothing: the distribution of codes is part of the model."""
        return self

    def predict_features(self, z: Tensor) -> Tensor:
        """Likelihood score (N,) float64 of codes (N, d_z) that `encode` gave."""
        if self.score != "nll":
            raise InputError(f"codes give the score 'nll' only, not {self.score!r}; use predict")
        return self.fitted.negative_log_likelihood(z).cpu()

    def _make(self, constant: float) -> Detector:
        return make_detector(self.fitted, self.score, constant)
