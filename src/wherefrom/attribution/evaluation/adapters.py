"""A fitted attributor, and Deep SAD alone, as estimators of scikit-learn and PyOD.

An attributor is trained already; `fit` sets a threshold on own images of the caller's, which must
not be those of its training.  Outlier = not made by the model.  Deep SAD trains on any features,
(N, D) or (N, C, H, W).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.data.images.writing import to_uint8
from wherefrom.detectors.adapters import as_features, as_images, pyod_base, sklearn_base
from wherefrom.detectors.deep_sad import DeepSadConfig, FittedDeepSad, fit_deep_sad

Array = NDArray[Any]


def _scores(attributor: Attributor, rows: Array) -> Tensor:
    if attributor.judges_numbers:
        return attributor.score(torch.as_tensor(rows, dtype=torch.float32))
    return attributor.score(to_uint8(as_images(rows, attributor.image_shape)))


@cache
def _sklearn_class() -> type[Any]:
    class AttributorEstimator(sklearn_base()):  # type: ignore[misc]
        """`fit(None)` takes the attributor's own calibration images, `fit(X)` own images X."""

        def __init__(self, attributor: Attributor, fpr: float = 0.05) -> None:
            self.attributor, self.fpr = attributor, fpr

        def __sklearn_clone__(self) -> AttributorEstimator:
            return type(self)(self.attributor, self.fpr)  # a value, not copied

        def fit(self, X: Array | None = None, y: object = None) -> Self:  # noqa: N803
            own = self.attributor.own_scores if X is None else _scores(self.attributor, X)
            self.offset_ = -threshold_at_rate(own, self.fpr)
            return self

        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            return _scores(self.attributor, np.asarray(X))

    return AttributorEstimator


@cache
def _pyod_class() -> type[Any]:
    class AttributorDetector(pyod_base()):  # type: ignore[misc]
        """`fit` takes own images and sets PyOD's threshold at its `contamination`."""

        def __init__(self, attributor: Attributor, contamination: float = 0.1) -> None:
            super().__init__(contamination=contamination)
            self.attributor = attributor

        def prepare(self, X: Array, y: Array | None) -> None:  # noqa: N803
            """Nothing is left to learn."""

        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            return _scores(self.attributor, X)

    return AttributorDetector


def sklearn_estimator(attributor: Attributor, *, fpr: float = 0.05) -> Any:
    """An unfitted scikit-learn outlier detector; `fpr`: own images called outliers, at most."""
    return _sklearn_class()(attributor, fpr)


def pyod_detector(attributor: Attributor, *, contamination: float = 0.1) -> Any:
    """An unfitted PyOD detector; `MissingExtraError` without PyOD."""
    return _pyod_class()(attributor, contamination)


def _train(rows: Array, y: Array | None, config: DeepSadConfig | None, seed: int) -> FittedDeepSad:
    """Deep SAD on features; labels +1 inlier, -1 outlier, 0 or none unlabelled."""
    x = as_features(rows)
    labels = torch.zeros(len(x)) if y is None else torch.as_tensor(np.asarray(y)).float()
    return fit_deep_sad(x, labels, config=config, seed=seed)


@cache
def _sad_sklearn_class() -> type[Any]:
    class DeepSadEstimator(sklearn_base()):  # type: ignore[misc]
        """Deep SAD on any features.  `fit(X, y)`: y is +1, -1 or 0; none: all unlabelled.

        A share of the inliers, drawn by `seed`, is held out of training and sets the threshold at
        the false-positive rate `fpr`.
        """

        def __init__(
            self,
            config: DeepSadConfig | None = None,
            fpr: float = 0.05,
            held_out: float = 0.2,
            seed: int = 0,
        ) -> None:
            self.config, self.fpr, self.held_out, self.seed = config, fpr, held_out, seed

        def fit(self, X: Array, y: Array | None = None) -> Self:  # noqa: N803
            labels = np.zeros(len(X)) if y is None else np.asarray(y)
            inliers = np.random.default_rng(self.seed).permutation(np.flatnonzero(labels >= 0))
            held = inliers[: max(1, round(self.held_out * len(inliers)))]
            train = np.setdiff1d(np.arange(len(X)), held)
            rows = np.asarray(X)
            self.fitted_ = _train(rows[train], labels[train], self.config, self.seed)
            self.offset_ = -threshold_at_rate(self.anomaly_scores(rows[held]), self.fpr)
            return self

        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            return self.fitted_.score(as_features(X))

    return DeepSadEstimator


@cache
def _sad_pyod_class() -> type[Any]:
    class DeepSadDetector(pyod_base()):  # type: ignore[misc]
        """Deep SAD on any features.  PyOD's labels: 1 outlier, 0 not labelled as one."""

        def __init__(
            self, config: DeepSadConfig | None = None, contamination: float = 0.1, seed: int = 0
        ) -> None:
            super().__init__(contamination=contamination)
            self.config, self.seed = config, seed

        def prepare(self, X: Array, y: Array | None) -> None:  # noqa: N803
            labels = None if y is None else np.where(np.asarray(y) == 1, -1, 0)
            self.fitted_ = _train(X, labels, self.config, self.seed)

        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            return self.fitted_.score(as_features(X))

    return DeepSadDetector


def deep_sad_estimator(
    *,
    config: DeepSadConfig | None = None,
    fpr: float = 0.05,
    held_out: float = 0.2,
    seed: int = 0,
) -> Any:
    """An unfitted scikit-learn outlier detector: Deep SAD on features or images."""
    return _sad_sklearn_class()(config, fpr, held_out, seed)


def deep_sad_detector(
    *, config: DeepSadConfig | None = None, contamination: float = 0.1, seed: int = 0
) -> Any:
    """An unfitted PyOD detector: Deep SAD on features; `MissingExtraError` without PyOD."""
    return _sad_pyod_class()(config, contamination, seed)
