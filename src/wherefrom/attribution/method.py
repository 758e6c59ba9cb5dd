"""FLIPAD: final-layer inversion plus anomaly detection.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024.  Larger score = less likely made by the owner's model.

Deviation: own training images are rounded to 8 bits first, as every image that `check` will meet.
Deviation: besides the others, impostors made from the model's own images are negatives
(`impostors`; 0 is the paper).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import PRESETS, FlipadConfig
from wherefrom.attribution.evidence import (
    Evidence,
    both_scores,
    pre_activations,
    reference_of,
)
from wherefrom.attribution.features import FeatureMap, select_channels
from wherefrom.attribution.fitted import FittedFlipad, eight_bit
from wherefrom.attribution.impostors import make_impostors
from wherefrom.attribution.other_layers import draw_by_other_layers
from wherefrom.calibration.conformal import needed_samples, require_rate
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.store import digest_bytes, digest_tensors
from wherefrom.data.crops import crop_count, random_crops
from wherefrom.data.splits import split_indices
from wherefrom.data.writing import to_float, to_uint8
from wherefrom.detectors.classifier import fit_classifier
from wherefrom.detectors.deep_sad import fit_deep_sad
from wherefrom.generators.generator import Generator

MIN_TRAINING_OTHERS = 50
CROP_CHUNK = 512
REFERENCE_SAMPLES = 1000  # own images behind the units in which the two scores are joined


def fit(
    generator: Generator,
    others: Tensor,
    *,
    config: FlipadConfig = PRESETS["default"],
    seed: int = 0,
    track: Track = quiet,
    device: torch.device | str = "cpu",
) -> FittedFlipad:
    """Fit an attributor for `generator`.

    `others` are images that the model did not make, (N, C, H, W), uint8 or float in [0, 1]: best
    the real images it was trained on.  They are split into a training and a calibration part.
    """
    pool = eight_bit(others, generator.image_shape)
    parts = _split_others(pool, config, seed)
    require_rate(config.false_negative_rate, config.calibration_samples, what="false-negative rate")
    own_train, own_held = _own_images(generator, config, seed, track)
    features = FeatureMap(
        generator.last_layer.to(device),
        generator.output_map,
        mean_activation(generator, config.mean_samples, seed, track=track).to(device),
        config.lasso,
        config.max_side,
        None,
    )
    own = features.extract(to_float(own_train), track=track)
    negative = features.extract(to_float(pool[parts["train"]]), track=track)
    if 0 < config.channels < own.shape[1]:
        chosen = select_channels(own, negative, config.channels)
        features = dataclasses.replace(features, channels=chosen)
        own, negative = own[:, chosen], negative[:, chosen]
    fakes = _impostor_features(features, generator, config, seed, track)
    x = torch.cat([own, negative, fakes])
    y = torch.ones(len(x), device=x.device)
    y[len(own) :] = -1
    detector = fit_deep_sad(x, y, config=config.detector, seed=seed, track=track)
    evidence = Evidence(features, detector, None, None)
    if config.classifier_samples:
        real = pool[parts["train"]]
        evidence = add_classifier(evidence, generator, real, config, seed=seed, track=track)
    fitted = FittedFlipad(
        config,
        evidence,
        generator.image_shape,
        torch.empty(0),
        torch.empty(0),
        _provenance(generator, pool, seed),
    )
    return dataclasses.replace(
        fitted,
        own_scores=fitted.score(own_held, track=track),
        other_scores=fitted.score(pool[parts["calibration"]], track=track),
    )


def add_classifier(
    evidence: Evidence,
    generator: Generator,
    others: Tensor,
    config: FlipadConfig,
    *,
    seed: int,
    track: Track = quiet,
) -> Evidence:
    """The evidence with a classifier of own against impostors, other last layers and `others`.

    Every kind comes from own images that were drawn for it alone; more of them give the units in
    which the two scores are joined.  None is used to train Deep SAD or to calibrate.
    """
    side = config.classifier.side
    per_image = crop_count(generator.image_shape, side)
    count = -(-config.classifier_samples // per_image)

    def source(name: str) -> int:
        return derive_seed(seed, "flipad", "classifier", name)

    def crops(images: Tensor, name: str) -> Tensor:
        """Random crops of o in half precision: they are many, and 8-bit images lose nothing."""
        parts = [
            random_crops(
                pre_activations(evidence.features, to_float(part)).half(),
                side,
                per_image,
                seed=derive_seed(source(name), index),
            )
            for index, part in enumerate(torch.split(images, CROP_CHUNK))
        ]
        return torch.cat(parts)

    own = crops(sample_eight_bit(generator, count, source("own"), track=track), "own")
    base = sample_eight_bit(generator, count, source("impostors"), track=track)
    moved = make_impostors(to_float(base), seed=source("changes"), moved=config.moved)
    drawn = draw_by_other_layers(generator, count, seed=source("layers"), track=track)
    negatives = [
        crops(to_uint8(moved), "impostors"),
        crops(drawn, "layers"),
        crops(others, "others"),
    ]
    classifier = fit_classifier(
        own, torch.cat(negatives), config=config.classifier, seed=seed, track=track
    )
    evidence = dataclasses.replace(evidence, classifier=classifier)
    images = to_float(sample_eight_bit(generator, REFERENCE_SAMPLES, source("reference")))
    return dataclasses.replace(evidence, reference=reference_of(both_scores(evidence, images)))


def mean_activation(generator: Generator, count: int, seed: int, *, track: Track = quiet) -> Tensor:
    """z_bar: mean activation before the last layer over `count` samples.  Section 4.3."""
    total = torch.zeros(generator.last_layer.input_shape, dtype=torch.float64)
    batches = generator.sample_with_activations(count, derive_seed(seed, "flipad", "mean"))
    for _, z in track(batches, "averaging activations", total=None):
        total += z.double().sum(dim=0).cpu()
    return (total / count).float()


def _own_images(
    generator: Generator, config: FlipadConfig, seed: int, track: Track
) -> tuple[Tensor, Tensor]:
    return (
        sample_eight_bit(
            generator, config.train_samples, derive_seed(seed, "flipad", "train"), track=track
        ),
        sample_eight_bit(
            generator,
            config.calibration_samples,
            derive_seed(seed, "flipad", "calibration"),
            track=track,
        ),
    )


def sample_eight_bit(
    generator: Generator, count: int, seed: int, *, track: Track = quiet
) -> Tensor:
    """`count` images as a PNG file would hold them, uint8 (count, C, H, W)."""
    batches = generator.sample_with_activations(count, seed)
    return torch.cat([to_uint8(x) for x, _ in track(batches, "sampling", total=None)])


def _impostor_features(
    features: FeatureMap, generator: Generator, config: FlipadConfig, seed: int, track: Track
) -> Tensor:
    count = round(config.impostors * config.train_samples)
    if count == 0:
        return features.extract(torch.empty(0, *generator.image_shape))
    source = derive_seed(seed, "flipad", "impostors")
    images = to_float(sample_eight_bit(generator, count, source, track=track))
    changed = make_impostors(images, seed=source, moved=config.moved)
    return features.extract(to_float(to_uint8(changed)), track=track)


def _split_others(pool: Tensor, config: FlipadConfig, seed: int) -> dict[str, list[int]]:
    keys = [digest_bytes(image.numpy().tobytes()) for image in pool]
    if len(set(keys)) < len(keys):
        raise InputError(
            f"{len(keys) - len(set(keys))} of the {len(keys)} other images are duplicates; "
            "remove them, so that calibration and training stay apart"
        )
    held = round(config.other_calibration_share * len(keys))
    if len(keys) - held < MIN_TRAINING_OTHERS:
        raise InputError(
            f"there are {len(keys)} other images, at least {needed_others(config)} are needed; "
            "add images that the model did not make"
        )
    require_rate(config.false_positive_rate, held, what="false-positive rate")
    train = min(len(keys) - held, config.train_samples)
    return split_indices(keys, {"calibration": held, "train": train}, seed=seed)


def needed_others(config: FlipadConfig) -> int:
    """The smallest number of other images that supports the false-positive rate."""
    share = config.other_calibration_share
    held = needed_samples(config.false_positive_rate, what="false-positive rate")
    count = max(MIN_TRAINING_OTHERS, int((held - 1) / share))
    while count - round(share * count) < MIN_TRAINING_OTHERS or round(share * count) < held:
        count += 1
    return count


def _provenance(generator: Generator, pool: Tensor, seed: int) -> dict[str, Any]:
    return {
        "generator": generator.describe(),
        "others": {"count": len(pool), "digest": digest_tensors({"images": pool})},
        "seed": seed,
    }
