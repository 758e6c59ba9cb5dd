"""Measures a fitted inverter: its samples, its reconstructions, and its scores of outliers.

Cho: PhD thesis, Concordia University, 2025, Sections 4.2 and 4.3 (Table 4 and Table 6).

Symbols:
    x        real images that it was not trained on
    z, z'    latents, and E(G(z o s))
    s        scale of the latents

Deviation: Frechet distance, precision and recall are of the features named in the result, not of
Inception's, unless those are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.data.images.writing import to_float
from wherefrom.data.splits import sample_indices
from wherefrom.inversion.equations import draw_latents, encoder_loss, latent_entropy
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.outliers.detecting import (
    available_scores,
    fit_constant,
    make_detector,
    score_images,
)
from wherefrom.inversion.outliers.self_test import FULL, run_self_test
from wherefrom.metrics.detection import finite_auroc, finite_mean
from wherefrom.metrics.feature_sets.frechet import frechet_distance
from wherefrom.metrics.feature_sets.neighbours import NEIGHBOURS, manifold_metrics
from wherefrom.metrics.image_quality import psnr, ssim
from wherefrom.metrics.random_features import NAME, random_features

BEST_PSNR = 100.0
MAX_IMAGES = 2000  # of each kind
MAX_TESTED = 200  # of these in the test of scores
NEAR = 0.3
LIVE = 0.5  # a latent with more variance in its codes is alive
MIN_IMAGES = NEIGHBOURS + 1
OWN = "real"  # the images whose scores the others are compared with
Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Similarity:
    """Means over images that give finite numbers: PSNR in dB, at most 100 each, and SSIM."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Detection:
    """AUROC of one score: mean over built-in corruptions, weak and full, and per foreign set.

    NaN where one side has no finite score.  `unscored`: images without one, by set.
    """

    score: str
    near: float
    far: float
    foreign: Mapping[str, float]
    unscored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class InverterEvaluation:
    """Larger = better, except `frechet_distance` and `encoder_loss`; None where a method lacks it.

    `images` of the `given` real images were measured.  `real`: x and its reconstruction; `fake`:
    generated images and theirs.  `encoder_loss`: mean of ((z - z') o s)^2.  `latent_entropy`: of
    Z o s in nats.  `live`: latents whose v exceeds 0.5.
    """

    method: str
    given: int
    images: int
    generated: int
    features: str
    frechet_distance: float | None
    precision: float | None
    recall: float | None
    real: Similarity | None
    fake: Similarity | None
    encoder_loss: float | None
    latent_entropy: float | None
    live: int | None
    detection: tuple[Detection, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "detection": [asdict(row) for row in self.detection]}


def evaluate_inverter(
    fitted: FittedInverter,
    images: Tensor,
    *,
    keys: Sequence[str],
    foreign: Mapping[str, Tensor] | None = None,
    features: Features = random_features,
    features_name: str = NAME,
    seed: int = 0,
    track: Track = quiet,
) -> InverterEvaluation:
    """Measure on real images (N, C, H, W), uint8 or float in [0, 1], not trained on.

    At most 2,000 of them count, drawn by their `keys`, and as many generated ones; a folder sorted
    by class is thus measured in all its classes.  `keys`: one per image, the digest of its content;
    they also name the random streams of damage.  `foreign`: sets that should be noticed, by name.
    Fewer than 6 images, or another number of keys, is an `InputError`.
    """
    if len(images) < MIN_IMAGES:
        raise InputError(f"{len(images)} real images; give at least {MIN_IMAGES}, better hundreds")
    if len(keys) != len(images):
        raise InputError(f"there are {len(images)} images, but {len(keys)} keys")
    rows = sample_indices(keys, MAX_IMAGES, seed=seed)
    x, keys = images[rows], [keys[row] for row in rows]
    x = to_float(x) if x.dtype == torch.uint8 else x
    generated = _generated(fitted, len(x), seed)
    distance = precision = recall = None
    if generated is not None:
        pair = _finite_rows(features(x)), _finite_rows(features(generated))
        distance, manifold = frechet_distance(*pair), manifold_metrics(*pair)
        precision, recall = manifold.precision, manifold.recall
    recovers = "reconstruction" in available_scores(fitted)
    scaled = fitted.networks.inverter is not None and fitted.config.recipe.has_prior
    kind = fitted.config.latents
    return InverterEvaluation(
        method=fitted.config.method,
        given=len(images),
        images=len(x),
        generated=0 if generated is None else len(generated),
        features=features_name,
        frechet_distance=distance,
        precision=precision,
        recall=recall,
        real=_similarity(fitted, x) if recovers else None,
        fake=_similarity(fitted, generated) if recovers and generated is not None else None,
        encoder_loss=_encoder_loss(fitted, len(x), seed) if scaled else None,
        latent_entropy=float(latent_entropy(fitted.scale, kind)) if scaled else None,
        live=int((fitted.trace > LIVE).sum()) if scaled else None,
        detection=_detection(fitted, x, keys, foreign or {}, seed, track),
    )


def examples(fitted: FittedInverter, images: Tensor, *, seed: int = 0) -> dict[str, Tensor]:
    """Images (N, C, H, W), their reconstructions, and as many generated ones, by title."""
    sheets = {"real": images}
    if "reconstruction" in available_scores(fitted):
        sheets["reconstructed"] = fitted.reconstruct(images).cpu()
    generated = _generated(fitted, len(images), seed)
    return sheets if generated is None else {**sheets, "generated": generated}


def network_features(source: str) -> tuple[Features, str]:
    """The features of a network that `load_feature_encoder` loads, and its name.

    Images are shown at the network's own side, a grey channel three times.
    """
    from wherefrom.encoders import load_feature_encoder

    network = load_feature_encoder(source)
    side = (network.resolution, network.resolution)

    def features(images: Tensor) -> Tensor:
        def shown(x: Tensor) -> Tensor:
            return network.features(F.interpolate(x, side, mode="bilinear").expand(-1, 3, -1, -1))

        with torch.no_grad():
            return in_passes(shown, images, size=1)

    return features, network.identity.kind


def _generated(fitted: FittedInverter, count: int, seed: int) -> Tensor | None:
    if fitted.networks.generator is None:
        return None
    return fitted.sample(count, seed=seed).cpu()


def _finite_rows(rows: Tensor) -> Tensor:
    return rows[rows.isfinite().all(dim=1)]


def _similarity(fitted: FittedInverter, x: Tensor) -> Similarity:
    recovered = fitted.reconstruct(x).cpu()
    decibels = psnr(x, recovered).clamp_max(BEST_PSNR)  # equal images would make the mean infinite
    likeness = ssim(x, recovered)
    usable = decibels.isfinite() & likeness.isfinite()
    return Similarity(float(decibels[usable].mean()), float(likeness[usable].mean()))


def _encoder_loss(fitted: FittedInverter, count: int, seed: int) -> float | None:
    """L_enc, Eq. 33, on fresh latents; None where the generator needs classes."""
    if fitted.networks.generator is None or fitted.needs_classes:
        return None
    z = torch.cat(
        [
            draw_latents(
                1,
                fitted.config.latent,
                fitted.config.latents,
                stream(seed, "inversion", "evaluation", row),
            )
            for row in range(count)
        ]
    )
    predicted = fitted.encode(fitted.decode(z, clip=False)).cpu()  # as the encoder was trained
    return float(encoder_loss(z.double(), predicted.double(), fitted.scale.cpu().double()))


def _detection(
    fitted: FittedInverter,
    x: Tensor,
    keys: Sequence[str],
    foreign: Mapping[str, Tensor],
    seed: int,
    track: Track,
) -> tuple[Detection, ...]:
    """AUROC per score: one half of x fixes its constant, the other is compared with damage.

    Which image is in which half follows from its key.
    """
    chosen = set(sample_indices(keys, len(x) // 2, seed=seed))
    rest = [row for row in range(len(x)) if row not in chosen]
    reference, own = x[sorted(chosen)], x[rest]
    own_keys = [keys[row] for row in rest]
    detectors = {
        name: make_detector(fitted, name, fit_constant(fitted, name, reference))
        for name in available_scores(fitted)
    }
    if not detectors:
        return ()
    few = sample_indices(own_keys, MAX_TESTED, seed=seed)
    test = run_self_test(
        detectors,
        own[few],
        keys=[own_keys[row] for row in few],
        near=NEAR,
        seed=seed,
        track=track,
    )
    rows = []
    for name, detector in detectors.items():
        scores = detector.score(own)
        strengths = {
            w: [row.auroc[name] for row in test.rows if row.intensity == w] for w in (NEAR, FULL)
        }
        near, far = (finite_mean(values) for values in strengths.values())
        theirs = {
            key: score_images(detector, value)
            if value.dtype == torch.uint8
            else detector.score(value)
            for key, value in foreign.items()
        }
        others = {key: finite_auroc(scores, value) for key, value in theirs.items()}
        missing = {key: _unscored(value) for key, value in {OWN: scores, **theirs}.items()}
        counts = {key: count for key, count in missing.items() if count}
        rows.append(Detection(name, near, far, others, counts))
    return tuple(rows)


def _unscored(scores: Tensor) -> int:
    return int((~scores.isfinite()).sum())
