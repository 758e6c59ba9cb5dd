"""An ensemble: several scores of one image, each of another kind of evidence, joined into one.

    activations   Deep SAD on inverted activations: FLIPAD itself
    classifier    FLIPAD's classifier on pre-activations, where the settings ask for it
    residual      log misfit of the inversion: an output that the layer can hardly make
                  (FLIPAD, Example 4.1); the paper does not use it
    cost          ||z - z_bar||_1, either way: activations too unlike, or too like, the mean
    spectrum      Deep SAD on the cosine transform: DCTPAD
    fingerprint   correlation of the noise residual with the model's: SM-F
    autoencoder   what the model's own autoencoder changes, where there is one and the settings ask
                  for it: AEDR; checking then needs the model

Each is put in units of its upper spread over own images that nothing else has seen, and
`flipad.combine` joins them so that none can hide another.  Calibration, p-values and
verdicts are those of every method: the joined score is calibrated, not its pieces.

Deviation: the paper scores by one piece at a time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.methods.autoencoder import (
    AutoencoderConfig,
    AutoencoderScorer,
    fit_autoencoder,
    read_autoencoder,
)
from wherefrom.attribution.methods.fingerprint import (
    FingerprintConfig,
    FingerprintScorer,
    fit_fingerprint,
    read_fingerprint,
)
from wherefrom.attribution.methods.flipad import (
    FlipadScorer,
    combine,
    fit_flipad,
    pre_activations,
    read_flipad,
    reference_of,
)
from wherefrom.attribution.methods.pad import (
    DctPadConfig,
    PadScorer,
    dct_features,
    fit_pad,
    read_pad,
)
from wherefrom.attribution.protocol import (
    FitMaterial,
    Method,
    SavedScorer,
    ScoreDetails,
    Scorer,
)
from wherefrom.core.config import setting
from wherefrom.core.rng import derive_seed
from wherefrom.data.images.writing import to_float


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(FlipadConfig):
    """Settings of the ensemble: those of FLIPAD, and of the pieces that have some of their own."""

    spectrum: DctPadConfig = setting(DctPadConfig(), "DCTPAD; its own training sizes are not used")
    prnu: FingerprintConfig = setting(FingerprintConfig(), "SM-F; its own rates are not used")
    reference_samples: int = setting(
        1000, "own images behind the units of the pieces, and as many behind a typical cost", low=20
    )
    autoencoder: bool = setting(
        False, "also what the model's own autoencoder changes; checking then needs the model"
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class EnsembleParts:
    """The scorers that an ensemble joins."""

    flipad: FlipadScorer
    spectrum: PadScorer
    fingerprint: FingerprintScorer
    typical_cost: float  # median of log ||z - z_bar||_1 over own images
    autoencoder: AutoencoderScorer | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of `raw`."""
        classifier = () if self.flipad.classifier is None else ("classifier",)
        encoder = () if self.autoencoder is None else ("autoencoder",)
        rest = ("residual", "cost", "spectrum", "fingerprint")
        return ("activations", *classifier, *rest, *encoder)

    def raw(self, images: Tensor) -> Tensor:
        """The pieces of evidence, each in its own unit, (N, J) float64; larger = not ours."""
        features = self.flipad.features
        activations, misfit, cost = features.extract_with_costs(images)
        # distances and misfits spread over decades; logits and correlations do not
        columns = [_log(self.flipad.detector.score(activations).cpu())]
        if self.flipad.classifier is not None:
            columns.append(self.flipad.classifier.score(pre_activations(features, images)).cpu())
        columns += [
            _log(misfit.cpu()),
            (_log(cost.cpu()) - self.typical_cost).abs(),
            _log(self.spectrum.score(images).cpu()),
            self.fingerprint.score(images).cpu(),
        ]
        if self.autoencoder is not None:
            columns.append(self.autoencoder.score(images))
        return torch.stack(columns, dim=1)


@dataclass(frozen=True, eq=False)
class Ensemble(Scorer):
    """Images in [0, 1] -> one anomaly score each, and the pieces behind it."""

    parts: EnsembleParts
    reference: Tensor  # (2, J) float64: median and upper spread of every piece

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64; images float32 (N, C, H, W) in [0, 1]."""
        return combine(self.pieces(images))

    def pieces(self, images: Tensor) -> Tensor:
        """Each piece in its upper spreads above the own median, (N, J) float64."""
        median, spread = self.reference
        standardised: Tensor = (self.parts.raw(images) - median) / spread
        return standardised

    def details(self, image: Tensor) -> ScoreDetails:
        """FLIPAD's details, and every piece by name."""
        values = self.pieces(image)[0].tolist()
        pieces = dict(zip(self.parts.names, values, strict=True))
        return dataclasses.replace(self.parts.flipad.details(image), pieces=pieces)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        parts = self.parts
        meta: dict[str, Any] = {"typical_cost": parts.typical_cost}
        if parts.autoencoder is not None:
            meta["autoencoder"] = parts.autoencoder.to_saved()[0]
        tensors = {"reference": self.reference}
        for name, part in (
            ("flipad", parts.flipad),
            ("spectrum", parts.spectrum),
            ("fingerprint", parts.fingerprint),
        ):
            meta[name], own = part.to_saved()
            tensors |= {f"{name}.{key}": value for key, value in own.items()}
        return meta, tensors


def _log(x: Tensor) -> Tensor:
    return x.double().clamp_min(torch.finfo(torch.float64).tiny).log()


def fit_ensemble(material: FitMaterial, config: EnsembleConfig) -> Ensemble:
    """Fit every piece on the same material, then find their units on own images of their own."""
    size = {"train_samples": config.train_samples}
    encoder = None
    if config.autoencoder:
        encoder = fit_autoencoder(material, AutoencoderConfig())
    flipad = fit_flipad(material, config)
    spectrum = fit_pad(dct_features, material, config.spectrum.with_values(size))
    fingerprint = fit_fingerprint(material, config.prnu.with_values(size))

    def drawn(name: str) -> Tensor:
        source = derive_seed(material.seed, "ensemble", name)
        images = material.reference(config.reference_samples, source)
        return to_float(material.altered(images, f"ensemble {name}"))

    cost = flipad.features.extract_with_costs(drawn("cost"))[2]
    typical = float(_log(cost).median())
    parts = EnsembleParts(
        flipad=flipad,
        spectrum=spectrum,
        fingerprint=fingerprint,
        typical_cost=typical,
        autoencoder=encoder,
    )
    return Ensemble(parts, reference_of(parts.raw(drawn("reference"))))


def read_ensemble(saved: SavedScorer) -> Ensemble:
    """The inverse of `Ensemble.to_saved`."""
    config: EnsembleConfig = saved.config
    encoder = None
    if "autoencoder" in saved.meta:
        encoder = read_autoencoder(saved.part("autoencoder", config))
    parts = EnsembleParts(
        flipad=read_flipad(saved.part("flipad", config)),
        spectrum=read_pad(dct_features, saved.part("spectrum", config.spectrum)),
        fingerprint=read_fingerprint(saved.part("fingerprint", config.prnu)),
        typical_cost=float(saved.meta["typical_cost"]),
        autoencoder=encoder,
    )
    return Ensemble(parts, saved.tensors["reference"])


ENSEMBLE = Method(
    name="ensemble",
    title="Ensemble",
    presets={
        "default": EnsembleConfig(),
        "quick": EnsembleConfig(train_samples=1000, mean_samples=1000, classifier_samples=6000),
    },
    fit=fit_ensemble,
    read=read_ensemble,
    needs_generator=lambda config: config.autoencoder,
)
