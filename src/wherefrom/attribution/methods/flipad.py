"""FLIPAD: final-layer inversion plus anomaly detection.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024.  Larger score = less likely made by the owner's model.

Deviation: own training images are rounded to 8 bits first, as every image that `check` will meet.
Deviation: besides the others, impostors made from the model's own images are negatives
(`impostors`; 0 is the paper).
Deviation: the paper scores by Deep SAD on activations alone.  It is strong against images of
another kind and needs many samples against a sibling; a classifier of o = sigma^-1(x) tells own
images from impostors (`classifier_samples`; 0 is the paper).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import PRESETS, FlipadConfig
from wherefrom.attribution.final_layer.window import Window
from wherefrom.attribution.images.own_images import GivenImages, ImageSource
from wherefrom.attribution.methods.features import FeatureMap, select_channels
from wherefrom.attribution.protocol import (
    Channel,
    FitMaterial,
    Method,
    SavedScorer,
    ScoreDetails,
    Scorer,
    as_values,
    stored_samples,
)
from wherefrom.attribution.training.impostors import make_impostors
from wherefrom.attribution.training.other_layers import draw_by_other_layers
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.crops import crop_count, random_crops
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.detectors.classifier import FittedClassifier, fit_classifier
from wherefrom.detectors.deep_sad import FittedDeepSad, fit_deep_sad

CROP_CHUNK = 512
NOISE_SAMPLES = 500  # own images behind the noise that they have before anybody alters them
SHOWN_CHANNELS = 4  # in the details of a score
NORMAL_99 = 2.3263478740408408  # the 99 % quantile of the standard normal
REFERENCE_SAMPLES = 1000  # own images behind the units in which the two scores are joined


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
    features = FeatureMap.from_saved(saved)
    sad, device = saved.part("detector", saved.config), saved.device
    detector = FittedDeepSad.from_saved(sad.meta, sad.tensors, device)
    if saved.meta["classifier"] is None:
        return FlipadScorer(features, detector)
    part = saved.part("classifier", saved.config)
    classifier = FittedClassifier.from_saved(part.meta, part.tensors, device)
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


def fit_flipad(material: FitMaterial, config: FlipadConfig) -> FlipadScorer:
    """Deep SAD on inverted activations, and the classifier where the settings ask for one."""
    generator, seed, track = material.generator, material.seed, material.track
    own_train = material.own(config.train_samples)
    features = FeatureMap.of(
        generator,
        lambda window: mean_activation(
            material.source, config.mean_samples, seed, window=window, track=track
        ).to(material.device),
        config,
    )
    if generator.makes_numbers:
        features = features.in_units_of(own_train)
    if config.lasso.slack == "noise":
        drawn = stored_samples(material.source, NOISE_SAMPLES, derive_seed(seed, "flipad", "noise"))
        features = features.with_clean_noise(to_float(drawn))
    own = features.extract(as_values(own_train), track=track)
    negative = features.extract(as_values(material.others), track=track)
    if 0 < config.channels < own.shape[1]:
        chosen = select_channels(own, negative, config.channels)
        features = dataclasses.replace(features, channels=chosen)
        own, negative = own[:, chosen], negative[:, chosen]
    fakes = _impostor_features(features, material, config)
    x = torch.cat([own, negative, fakes])
    y = torch.ones(len(x), device=x.device)
    y[len(own) :] = -1
    detector = fit_deep_sad(x, y, config=config.detector, seed=seed, track=track)
    scorer = FlipadScorer(features, detector)
    return add_classifier(scorer, material, config) if config.classifier_samples else scorer


def add_classifier(
    scorer: FlipadScorer, material: FitMaterial, config: FlipadConfig
) -> FlipadScorer:
    """The scorer with a classifier of own against impostors, other last layers and the others.

    Every kind comes from own images that were drawn for it alone; more of them give the units in
    which the two scores are joined.  None is used to train Deep SAD or to calibrate.
    """
    generator, seed, track = material.source, material.seed, material.track
    immunity = material.immunity
    side = config.classifier.side
    per_image = crop_count(generator.image_shape, side)
    count = -(-config.classifier_samples // per_image)

    def source(name: str) -> int:
        return derive_seed(seed, "flipad", "classifier", name)

    def crops(images: Tensor, name: str) -> Tensor:
        """Random crops of o in half precision: they are many, and 8-bit images lose nothing."""
        parts = [
            random_crops(
                pre_activations(scorer.features, to_float(part)).half(),
                side,
                per_image,
                seed=derive_seed(source(name), index),
            )
            for index, part in enumerate(torch.split(images, CROP_CHUNK))
        ]
        return torch.cat(parts)

    def altered_crops(images: Tensor, name: str) -> Tensor:
        return crops(immunity.applied(images, source(name)), name)

    own = altered_crops(stored_samples(generator, count, source("own"), track=track), "own")
    base = stored_samples(generator, count, source("impostors"), track=track)
    moved = make_impostors(to_float(base), seed=source("changes"), moved=config.moved)
    drawn = draw_by_other_layers(generator, count, seed=source("layers"), track=track)
    negatives = [
        altered_crops(to_uint8(moved), "impostors"),
        altered_crops(drawn, "layers"),
        crops(material.others, "others"),  # altered already
    ]
    classifier = fit_classifier(
        own, torch.cat(negatives), config=config.classifier, seed=seed, track=track
    )
    drawn = material.reference(REFERENCE_SAMPLES, source("reference"))
    images = to_float(immunity.applied(drawn, source("reference")))
    both = both_scores(scorer.features, scorer.detector, classifier, images)
    return dataclasses.replace(scorer, classifier=classifier, reference=reference_of(both))


def mean_activation(
    generator: ImageSource,
    count: int,
    seed: int,
    *,
    window: Window | None = None,
    track: Track = quiet,
) -> Tensor:
    """z_bar: mean activation before the last layer over `count` samples, or a window of it.

    Section 4.3.  Of own images from disk, each counts once at most.
    """
    if isinstance(generator, GivenImages):
        count = min(count, len(generator))
    total = None
    batches = generator.sample_with_activations(count, derive_seed(seed, "flipad", "mean"))
    for _, z in track(batches, "averaging activations", total=generator.batch_count(count)):
        part = (z if window is None else window.of_inputs(z)).double().sum(dim=0).cpu()
        total = part if total is None else total + part
    if total is None:
        raise InputError(f"a mean over {count} samples; give at least 1")
    return (total / count).float()


def _impostor_features(features: FeatureMap, material: FitMaterial, config: FlipadConfig) -> Tensor:
    generator, track = material.generator, material.track
    count = round(config.impostors * config.train_samples)
    if count == 0:
        return features.extract(torch.empty(0, *generator.image_shape))
    source = derive_seed(material.seed, "flipad", "impostors")
    images = to_float(stored_samples(material.source, count, source, track=track))
    changed = to_uint8(make_impostors(images, seed=source, moved=config.moved))
    return features.extract(to_float(material.altered(changed, "impostors")), track=track)


FLIPAD = Method(name="flipad", title="FLIPAD", presets=PRESETS, fit=fit_flipad, read=read_flipad)
