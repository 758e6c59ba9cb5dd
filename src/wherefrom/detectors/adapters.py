"""Base classes that offer anomaly scores as scikit-learn and PyOD estimators.

Subclasses stand in `attribution.evaluation.adapters` and `inversion.adapters`.  Images are arrays
(N, C, H, W) or flat rows, uint8 or float in [0, 1]; features are used as they are.  scikit-learn is
always installed; PyOD is the extra `pyod`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need

Array = NDArray[Any]


def as_images(rows: Array | Tensor, shape: tuple[int, ...]) -> Tensor:
    """float32 (N, *shape) of an array of images or of flat rows; uint8 is divided by 255."""
    given = torch.as_tensor(np.ascontiguousarray(rows) if isinstance(rows, np.ndarray) else rows)
    size = int(np.prod(shape))
    if given.ndim < 2 or given[0].numel() != size:
        raise InputError(
            f"images of shape {tuple(given.shape)}, expected (N, {', '.join(map(str, shape))}) or "
            f"(N, {size})"
        )
    x = given.float() / 255 if given.dtype == torch.uint8 else given.float()
    return x.reshape(len(x), *shape)


def as_features(rows: Array | Tensor) -> Tensor:
    """float32 features (N, D) or (N, C, H, W) as they are given."""
    return torch.as_tensor(np.ascontiguousarray(rows)).float()


@cache
def sklearn_base() -> type[Any]:
    """An outlier estimator whose subclass has `fit`, which sets `offset_`, and `anomaly_scores`."""
    from sklearn.base import BaseEstimator, OutlierMixin

    class ScoreOutliers(OutlierMixin, BaseEstimator, ABC):  # type: ignore[misc]
        """scikit-learn's signs: larger for normal items, `predict` 1 for them, -1 for outliers."""

        @abstractmethod
        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803 (scikit-learn's name)
            """(N,) float, larger = more anomalous."""

        def score_samples(self, X: Array) -> Array:  # noqa: N803
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self)
            normality: Array = -self.anomaly_scores(X).cpu().numpy()
            return normality

        def decision_function(self, X: Array) -> Array:  # noqa: N803
            margins: Array = self.score_samples(X) - self.offset_
            return margins

        def predict(self, X: Array) -> Array:  # noqa: N803
            return np.where(self.decision_function(X) < 0, -1, 1)

    return ScoreOutliers


@cache
def pyod_base() -> type[Any]:
    """A PyOD detector whose subclass has `prepare` and `anomaly_scores`; needs the extra `pyod`."""
    base: Any = need("pyod.models.base", "the PyOD adapter", extra="pyod").BaseDetector

    class ScoreDetector(base):  # type: ignore[misc]
        """PyOD's signs: larger = more anomalous.  Its threshold is a share of the fitted items."""

        @abstractmethod
        def prepare(self, X: Array, y: Array | None) -> None:  # noqa: N803 (PyOD's name)
            """What `fit` does before it scores X."""

        @abstractmethod
        def anomaly_scores(self, X: Array) -> Tensor:  # noqa: N803
            """(N,) float, larger = more anomalous."""

        def fit(self, X: Array, y: Array | None = None) -> Self:  # noqa: N803
            self.prepare(X, y)
            self.detector_ = True  # what `check_is_fitted` looks for
            self.decision_scores_ = self.decision_function(X)
            self._set_n_classes(None)  # it warns of labels, which `prepare` may use
            self._process_decision_scores()
            return self

        def decision_function(self, X: Array) -> Array:  # noqa: N803
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self, ["detector_"])
            scores: Array = self.anomaly_scores(X).cpu().numpy()
            return scores

    return ScoreDetector
