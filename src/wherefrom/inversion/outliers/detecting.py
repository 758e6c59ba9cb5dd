"""Anomaly scores of a fitted inverter, as detectors.  Larger = more anomalous.

Cho: Deep Generative Models and Their Inversions, PhD thesis, Concordia University, 2025, Sections
3.3 and 4.3.

Symbols:
    x    images, (N, C, H, W) float32 in [0, 1]
    E    encoder; G generator; s scale of its latents; v variance of codes of generated images

Deviation: the reconstruction is clipped to [0, 1] before it is compared, as `decode` gives it;
that can only lower an error.
Deviation: ReAct's percentile is that of reference images; the thesis' code takes it of the very
test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import float_parts
from wherefrom.detectors.energy import energy, react_cap, rectify
from wherefrom.detectors.protocol import Detector
from wherefrom.inversion.model import FittedInverter

SCORES = ("nll", "two-sided", "reconstruction", "energy")


@dataclass(frozen=True)
class LikelihoodDetector:
    """-log N(E(x); mu, v), AnoDLSGAN, Eq. 37; two-sided: its distance from `centre`."""

    fitted: FittedInverter
    centre: float | None = None

    def score(self, x: Tensor) -> Tensor:
        """(N,) float64."""
        scores = self.fitted.negative_log_likelihood(self.fitted.encode(x)).cpu()
        return scores if self.centre is None else (scores - self.centre).abs()


@dataclass(frozen=True)
class ReconstructionDetector:
    """Mean over pixels of (x - G(E(x) o s))^2."""

    fitted: FittedInverter

    def score(self, x: Tensor) -> Tensor:
        """(N,) float64."""
        recovered = self.fitted.reconstruct(x).cpu().double()
        return (recovered - x.cpu().double()).square().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class EnergyDetector:
    """Energy of the class logits, of activations cut at `cap`."""

    fitted: FittedInverter
    temperature: float
    cap: float

    def score(self, x: Tensor) -> Tensor:
        """(N,) float64."""
        logits = self.fitted.logits_of_features(rectify(self.fitted.features(x), self.cap))
        if logits is None:
            raise _lacks(self.fitted, "energy")
        return energy(logits.cpu(), temperature=self.temperature)


def score_images(detector: Detector, images: Tensor, rows: Sequence[int] | None = None) -> Tensor:
    """Scores of uint8 images (N, C, H, W), or those at `rows`; they become floats part by part."""
    return torch.cat([detector.score(part) for part in float_parts(images, rows)])


def available_scores(fitted: FittedInverter) -> tuple[str, ...]:
    """Which of `SCORES` this model can give."""
    networks = fitted.networks
    scores: list[str] = []
    if networks.inverter is not None:
        scores += ["nll", "two-sided"]
        sorts = not fitted.needs_classes or networks.sorter is not None
        if networks.generator is not None and sorts:
            scores.append("reconstruction")
    if networks.sorter is not None:
        scores.append("energy")
    return tuple(scores)


def fit_constant(
    fitted: FittedInverter, score: str, reference: Tensor, *, percentile: float = 1.0
) -> float:
    """The constant of a score, from own images (N, C, H, W) that are not scored later.

    Two-sided: the mean likelihood score, which is its centre.  Energy: ReAct's cap, the
    `percentile` of all activations.  The others need nothing: 0.  Images that give no finite number
    do not count.
    """
    _require(fitted, score)
    if score not in ("two-sided", "energy"):
        return 0.0
    if not len(reference):
        raise InputError(f"the score {score!r} needs reference images; give at least 1")
    if score == "two-sided":
        scores = LikelihoodDetector(fitted).score(reference)
        return float(scores[scores.isfinite()].mean())
    activations = fitted.features(reference).cpu()
    usable = activations.isfinite().flatten(1).all(dim=1)
    return react_cap(activations[usable] if bool(usable.any()) else activations, percentile)


def make_detector(
    fitted: FittedInverter, score: str, constant: float, *, temperature: float = 1.0
) -> Detector:
    """The detector of one of `SCORES` with the constant that `fit_constant` found."""
    _require(fitted, score)
    if score == "reconstruction":
        return ReconstructionDetector(fitted)
    if score == "energy":
        return EnergyDetector(fitted, temperature, constant)
    return LikelihoodDetector(fitted, constant if score == "two-sided" else None)


def _require(fitted: FittedInverter, score: str) -> None:
    if score not in SCORES:
        raise InputError(f"the score is {score!r}; choose one of {', '.join(SCORES)}")
    if score not in available_scores(fitted):
        raise _lacks(fitted, score)


def _lacks(fitted: FittedInverter, score: str) -> InputError:
    known = ", ".join(available_scores(fitted)) or "none"
    return InputError(f"{fitted.config.method} has no score {score!r}; it has: {known}")
