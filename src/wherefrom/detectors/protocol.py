"""The interface of a fitted anomaly detector."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Detector(Protocol):
    """A fitted detector, as `FittedDeepSad`, `FittedClassifier` and those of `inversion`."""

    def score(self, x: Tensor) -> Tensor:
        """One score per item, (N,) float64, larger = more anomalous, whatever the batch."""
        ...
