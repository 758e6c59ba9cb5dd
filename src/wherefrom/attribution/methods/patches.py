"""Patches: what the last layer leaves in small patches of o = sigma^-1(x).  The default for images.

Own images are told from the model's own content that came out of other last layers, which we make
ourselves: no rival model, and no image of one, is needed.  Two kinds of evidence:

    moments     second moments of whitened patches and one linear function of them, in closed form
    classifier  two small networks on whitened patches

Each is put in units of its upper spread over own images that nothing else has seen, and `combine`
joins them.  Larger score = less likely made by the owner's model.

Deviation: FLIPAD inverts the last layer (Eq. 5) and trains Deep SAD on the activations.  Nothing is
inverted here: 50 iterations of the inversion cost more than all of this, and told less about a
sibling of the model (docs/attribution-results.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import TrainedConfig
from wherefrom.attribution.methods.flipad import combine, reference_of
from wherefrom.attribution.protocol import (
    FitMaterial,
    Method,
    SavedScorer,
    Scorer,
    stored_samples,
)
from wherefrom.attribution.training.impostors import make_impostors, retouch_in_turn
from wherefrom.attribution.training.other_layers import draw_by_other_layers
from wherefrom.attribution.training.regressed_layers import draw_by_regressed_layers
from wherefrom.core.config import setting
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.crops import random_crops
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.detectors.classifier import ClassifierConfig, FittedClassifier, fit_classifier
from wherefrom.detectors.patch_moments import MIN_SIDE, FittedPatchMoments, fit_patch_moments
from wherefrom.generators.last_layer.output_map import OutputMap

CHUNK = 128  # images whose pre-activations are made at a time
WINDOW = 128  # side that is kept of larger training images
MAX_CROPS = 16  # of one image, for the networks


@dataclass(frozen=True, kw_only=True)
class PatchesConfig(TrainedConfig):
    """Settings of the method `patches`."""

    train_samples: int = setting(
        8000, "crops of own images to train on, and at most half as many others", low=50
    )
    moved: float = setting(
        0.5, "share of the impostors that is mirrored or moved", low=0.0, high=1.0
    )
    reference_samples: int = setting(
        1000, "own images behind the units in which the two are joined", low=20
    )
    classifier: ClassifierConfig = setting(
        ClassifierConfig(trunks="light", epochs=2), "the two networks"
    )


@dataclass(frozen=True, eq=False)
class PatchesScorer(Scorer):
    """Images in [0, 1] -> one anomaly score each."""

    output_map: OutputMap
    moments: FittedPatchMoments
    classifier: FittedClassifier
    reference: Tensor  # (2, 2) float64: median and upper spread of both

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64; images float32 (N, C, H, W) in [0, 1]."""
        median, spread = self.reference
        return combine((self.evidence(images) - median) / spread)

    def evidence(self, images: Tensor) -> Tensor:
        """The linear function of the moments, and the classifier's logit, (N, 2) float64."""
        o = pre_activations(self.output_map, images.to(self.moments.mean))
        return torch.stack([self.moments.score(o), self.classifier.score(o)], dim=1)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        meta: dict[str, Any] = {"output_map": self.output_map.to_meta()}
        tensors = {"reference": self.reference}
        for name, part in (("moments", self.moments), ("classifier", self.classifier)):
            meta[name], own = part.to_saved()
            tensors |= {f"{name}.{key}": value for key, value in own.items()}
        return meta, tensors


def pre_activations(output_map: OutputMap, images: Tensor) -> Tensor:
    """o = sigma^-1(x), laid out like the images (N, C, H, W), also that of a dense layer."""
    return output_map.inverse(images).reshape(images.shape)


def read_patches(saved: SavedScorer) -> PatchesScorer:
    """The inverse of `PatchesScorer.to_saved`."""
    moments, networks = (saved.part(name, saved.config) for name in ("moments", "classifier"))
    return PatchesScorer(
        OutputMap.from_meta(saved.meta["output_map"]),
        FittedPatchMoments.from_saved(moments.meta, moments.tensors, saved.device),
        FittedClassifier.from_saved(networks.meta, networks.tensors, saved.device),
        saved.tensors["reference"].to(saved.device),
    )


def fit_patches(material: FitMaterial, config: PatchesConfig) -> PatchesScorer:
    """Fit both on own images against the others and four kinds of images that we make.

    Every kind comes from own images that were drawn for it alone (of images from disk, in an order
    of its own); more of them give the units in which the two are joined.  None of them calibrates.
    """
    generator, seed, track = material.source, material.seed, material.track
    size, side = min(generator.image_shape[-2:]), config.classifier.side
    if size < MIN_SIDE:
        raise InputError(
            f"the method patches needs images of at least {MIN_SIDE} px a side, and this model's "
            f"have {size}; take --method flipad"
        )
    tiles = math.prod(-(-length // side) for length in generator.image_shape[-2:])
    per_image = min(tiles, MAX_CROPS)
    count = -(-config.train_samples // per_image)
    half, quarter = -(-count // 2), -(-count // 4)

    def source(name: str) -> int:
        return derive_seed(seed, "patches", name)

    def drawn(number: int, name: str) -> Tensor:
        return stored_samples(generator, number, source(name), track=track)

    def regressed(number: int, name: str) -> Tensor:
        return draw_by_regressed_layers(generator, number, seed=source(name), track=track)

    def impostors() -> Tensor:
        base = to_float(drawn(half, "impostors"))
        return to_uint8(make_impostors(base, seed=source("changes"), moved=config.moved))

    def altered_layers() -> Tensor:
        return draw_by_other_layers(generator, count, seed=source("layers"), track=track)

    kinds: dict[str, Callable[[], Tensor]] = {
        "own": lambda: drawn(count, "own"),
        "impostors": impostors,
        "layers": altered_layers,
        "regressed": lambda: regressed(count, "redrawn"),
        "moved": lambda: retouch_in_turn(regressed(quarter, "moved"), seed=source("moves")),
        "others": lambda: material.others[:half],
    }

    def windows(name: str) -> Tensor:
        """o of all images of that kind in half precision, of large ones a window each."""
        images = kinds[name]()
        if name != "others":  # altered already
            images = material.altered(images, f"patches {name}")
        parts = [
            random_crops(
                pre_activations(generator.output_map, to_float(part)).half(),
                WINDOW,
                1,
                seed=derive_seed(source(f"windows of {name}"), index),
            )
            for index, part in enumerate(torch.split(images, CHUNK))
        ]
        return torch.cat(parts).to(material.device)

    o = {name: windows(name) for name in kinds}
    crops = {
        name: random_crops(part, side, per_image, seed=source(f"crops of {name}"))
        for name, part in o.items()
    }
    own, own_crops = o.pop("own"), crops.pop("own")
    moments = fit_patch_moments(own, list(o.values()), track=track)
    classifier = fit_classifier(
        own_crops, torch.cat(list(crops.values())), config=config.classifier, seed=seed, track=track
    )
    both = PatchesScorer(generator.output_map, moments, classifier, torch.zeros(2, 2))
    reference = material.altered(
        material.reference(config.reference_samples, source("reference")), "patches reference"
    )
    units = reference_of(both.evidence(to_float(reference)))
    return PatchesScorer(generator.output_map, moments, classifier, units)


PATCHES = Method(
    name="patches",
    title="Patches",
    presets={
        "default": PatchesConfig(),
        "quick": PatchesConfig(train_samples=3000),
        "thorough": PatchesConfig(train_samples=16_000).with_values({"classifier.epochs": 5}),
    },
    fit=fit_patches,
    read=read_patches,
)
