"""One score from two pieces of evidence: Deep SAD on activations, contrasts on pre-activations.

Deviation: the paper scores by Deep SAD alone.  Deep SAD is strong against images of another kind
and needs many samples against a sibling; the contrasts ask a narrower question of o = sigma^-1(x)
and answer it from a few thousand own images.  `contrast_samples = 0` is the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from wherefrom.attribution.features import FeatureMap
from wherefrom.detectors.contrasts import FittedContrasts
from wherefrom.detectors.deep_sad import FittedDeepSad


@dataclass(frozen=True, eq=False)
class Evidence:
    """Images in [0, 1] -> one anomaly score each.

    Without contrasts the score is Deep SAD's squared distance.  With them, the logarithm of each
    score is put in units of its spread over own reference images, and `combine` joins the two.
    """

    features: FeatureMap
    detector: FittedDeepSad
    contrasts: FittedContrasts | None
    reference: Tensor | None  # (2, 2) float64: mean and deviation of the two log scores

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64; images float32 (N, C, H, W) in [0, 1]."""
        if self.contrasts is None or self.reference is None:
            return self.detector.score(self.features.extract(images))
        mean, spread = self.reference
        return combine((log_scores(self, images) - mean) / spread)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors for `core.store`."""
        meta, tensors = self.detector.to_saved()
        named = {f"detector.{k}": v for k, v in tensors.items()}
        if self.contrasts is not None and self.reference is not None:
            named |= {f"contrasts.{k}": v for k, v in self.contrasts.to_tensors().items()}
            named["contrasts.reference"] = self.reference
        return meta, named

    @classmethod
    def from_saved(
        cls,
        features: FeatureMap,
        meta: Mapping[str, Any],
        detector: Mapping[str, Tensor],
        contrasts: Mapping[str, Tensor],
        device: torch.device | str,
    ) -> Self:
        """The inverse of `to_saved`, its tensors sorted by their first name."""
        found = FittedDeepSad.from_saved(meta, detector).to(device)
        if not contrasts:
            return cls(features, found, None, None)
        moved = {k: v.to(device) for k, v in contrasts.items()}
        reference = moved.pop("reference")
        return cls(features, found, FittedContrasts(**moved), reference)


def log_scores(evidence: Evidence, images: Tensor) -> Tensor:
    """Logarithms of both scores, (N, 2) float64."""
    if evidence.contrasts is None:
        raise TypeError("evidence without contrasts has one score")
    sad = evidence.detector.score(evidence.features.extract(images))
    o = pre_activations(evidence.features, images)
    both = torch.stack([sad, evidence.contrasts.score(o)], dim=1)
    return both.clamp_min(torch.finfo(torch.float64).tiny).log()


def pre_activations(features: FeatureMap, images: Tensor) -> Tensor:
    """o = sigma^-1(x), flat: (N, D_out) float32 on the device of the features."""
    return features.output_map.inverse(images.to(features.mean_activation)).flatten(1)


def combine(z: Tensor) -> Tensor:
    """Join standardised scores (N, J): the root of the summed squares of those above average.

    Where none is above average, the largest.  It grows with every score and is never below the
    largest, so neither piece of evidence can hide the other.
    """
    excess = z.clamp_min(0).square().sum(dim=1).sqrt()
    return torch.where(excess > 0, excess, z.amax(dim=1))
