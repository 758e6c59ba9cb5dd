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
from wherefrom.attribution.training.redrawn_layers import draw_by_redrawn_layers
from wherefrom.core.config import setting
from wherefrom.core.rng import derive_seed
from wherefrom.data.altering.crops import crop_count, random_crops
from wherefrom.data.writing import to_float, to_uint8
from wherefrom.detectors.classifier import ClassifierConfig, FittedClassifier, fit_classifier
from wherefrom.detectors.patch_moments import FittedPatchMoments, fit_patch_moments
from wherefrom.generators.last_layer.output_map import OutputMap

CHUNK = 512  # images whose pre-activations are made at a time


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
        o = self.output_map.inverse(images.to(self.moments.mean))
        return torch.stack([self.moments.score(o), self.classifier.score(o)], dim=1)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        meta: dict[str, Any] = {"output_map": self.output_map.to_meta()}
        tensors = {"reference": self.reference}
        for name, part in (("moments", self.moments), ("classifier", self.classifier)):
            meta[name], own = part.to_saved()
            tensors |= {f"{name}.{key}": value for key, value in own.items()}
        return meta, tensors


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
    per_image = crop_count(generator.image_shape, config.classifier.side)
    count = -(-config.train_samples // per_image)

    def source(name: str) -> int:
        return derive_seed(seed, "patches", name)

    def drawn(number: int, name: str) -> Tensor:
        return stored_samples(generator, number, source(name), track=track)

    half, quarter = -(-count // 2), -(-count // 4)
    kinds = {
        "own": drawn(count, "own"),
        "impostors": to_uint8(
            make_impostors(
                to_float(drawn(half, "impostors")), seed=source("changes"), moved=config.moved
            )
        ),
        "layers": draw_by_other_layers(generator, count, seed=source("layers"), track=track),
        "redrawn": draw_by_redrawn_layers(generator, count, seed=source("redrawn"), track=track),
        "moved": retouch_in_turn(
            draw_by_redrawn_layers(generator, quarter, seed=source("moved"), track=track),
            seed=source("moves"),
        ),
    }
    images = {name: material.altered(part, f"patches {name}") for name, part in kinds.items()}
    images["others"] = material.others[:half]  # altered already

    def pre_activations(name: str) -> Tensor:
        """o of these images in half precision: they are many, and 8-bit images lose nothing."""
        parts = torch.split(images[name], CHUNK)
        return torch.cat([generator.output_map.inverse(to_float(part)).half() for part in parts])

    o = {name: pre_activations(name).to(material.device) for name in images}
    own = o.pop("own")
    moments = fit_patch_moments(own, list(o.values()), track=track)
    side = config.classifier.side
    crops = [
        random_crops(part, side, per_image, seed=source(f"crops of {name}"))
        for name, part in o.items()
    ]
    classifier = fit_classifier(
        random_crops(own, side, per_image, seed=source("crops of own")),
        torch.cat(crops),
        config=config.classifier,
        seed=seed,
        track=track,
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
