"""One score from two pieces of evidence: Deep SAD on activations, a classifier on pre-activations.

Deviation: the paper scores by Deep SAD alone.  Deep SAD is strong against images of another kind
and needs many samples against a sibling; the classifier of o = sigma^-1(x) tells own images from
impostors.  `classifier_samples = 0` is the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.protocol import Channel, SavedScorer, ScoreDetails, Scorer
from wherefrom.detectors.classifier import FittedClassifier
from wherefrom.detectors.deep_sad import FittedDeepSad

SHOWN_CHANNELS = 4
NORMAL_99 = 2.3263478740408408  # the 99 % quantile of the standard normal


@dataclass(frozen=True, eq=False)
class FlipadScorer(Scorer):
    """Images in [0, 1] -> one anomaly score each.

    Without a classifier the score is Deep SAD's squared distance.  With one, the logarithm of that
    distance and the logit are put in units of their upper spread over own reference images, and
    `combine` joins the two.
    """

    features: FeatureMap
    detector: FittedDeepSad
    classifier: FittedClassifier | None = None
    reference: Tensor | None = None  # (2, 2) float64: median and upper spread of both

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64; images float32 (N, C, H, W) in [0, 1]."""
        if self.classifier is None or self.reference is None:
            return self.detector.score(self.features.extract(images))
        median, spread = self.reference
        both = both_scores(self.features, self.detector, self.classifier, images)
        return combine((both - median) / spread)

    def details(self, image: Tensor) -> ScoreDetails:
        """The activation channels that differ most, and what the last layer does not reach."""
        return ScoreDetails(self._channels(image), self.features.unexplained(image))

    def _channels(self, image: Tensor) -> tuple[Channel, ...]:
        z = self.features.extract(image).float()
        z = ((z - self.detector.mean) / self.detector.scale)[0].cpu()
        if z.ndim != 3:
            z = z.reshape(-1, 1, 1)
        difference = z.abs().mean(dim=(1, 2))
        chosen = self.features.channels
        numbers = range(len(z)) if chosen is None else chosen.tolist()
        order = difference.argsort(descending=True, stable=True)[:SHOWN_CHANNELS].tolist()
        return tuple(Channel(int(numbers[i]), float(difference[i]), z[i]) for i in order)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        meta, named = self.features.to_saved()
        meta["detector"], tensors = self.detector.to_saved()
        meta["classifier"] = None
        named |= {f"detector.{k}": v for k, v in tensors.items()}
        if self.classifier is not None and self.reference is not None:
            meta["classifier"], tensors = self.classifier.to_saved()
            named |= {f"classifier.{k}": v for k, v in tensors.items()}
            named["reference"] = self.reference
        return meta, named


def read_flipad(saved: SavedScorer) -> FlipadScorer:
    """The inverse of `FlipadScorer.to_saved`."""
    meta, device = saved.meta, saved.device
    parts: dict[str, dict[str, Tensor]] = {"detector": {}, "classifier": {}, "last_layer": {}}
    for key, value in saved.tensors.items():
        head, _, rest = key.partition(".")
        if head in parts:
            parts[head][rest] = value
    features = FeatureMap.from_saved(meta, saved.tensors, parts["last_layer"], saved.config, device)
    detector = FittedDeepSad.from_saved(meta["detector"], parts["detector"]).to(device)
    if meta["classifier"] is None:
        return FlipadScorer(features, detector)
    classifier = FittedClassifier.from_saved(meta["classifier"], parts["classifier"], device)
    return FlipadScorer(features, detector, classifier, saved.tensors["reference"].to(device))


def both_scores(
    features: FeatureMap, detector: FittedDeepSad, classifier: FittedClassifier, images: Tensor
) -> Tensor:
    """Logarithm of Deep SAD's score, and the classifier's logit, (N, 2) float64."""
    sad = detector.score(features.extract(images))
    logit = classifier.score(pre_activations(features, images))
    return torch.stack([sad.clamp_min(torch.finfo(torch.float64).tiny).log(), logit], dim=1)


def reference_of(both: Tensor) -> Tensor:
    """Median and upper spread of scores (N, 2), as (2, 2) float64.

    The spread is that of a Gaussian with the same 99 % quantile: the threshold lies in the upper
    tail, where the score with the heavier one would decide alone.
    """
    median, upper = torch.quantile(both, both.new_tensor([0.5, 0.99]), dim=0)
    return torch.stack([median, (upper - median) / NORMAL_99])


def pre_activations(features: FeatureMap, images: Tensor) -> Tensor:
    """o = sigma^-1(x), float32 (N, C, H, W), on the device of the features.

    A layer that puts out no image, as a dense one, has its o laid out like the image.
    """
    o = features.output_map.inverse(images.to(features.mean_activation))
    return o if o.ndim == 4 else o.reshape(images.shape)


def combine(z: Tensor) -> Tensor:
    """Join standardised scores (N, J): the root of the summed squares of those above average.

    Where none is above average, the largest.  It grows with every score and is never below the
    largest, so that a low score does not hide a high one.
    """
    excess = z.clamp_min(0).square().sum(dim=1).sqrt()
    return torch.where(excess > 0, excess, z.amax(dim=1))
