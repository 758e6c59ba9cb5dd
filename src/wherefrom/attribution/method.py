"""One way in for every method: split, fit, calibrate.  Larger score = less likely ours."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.attribution.fitted import Attributor, eight_bit
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import Material, sample_eight_bit
from wherefrom.calibration.conformal import needed_samples, require_rate
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.store import digest_bytes, digest_tensors
from wherefrom.data.splits import split_indices
from wherefrom.generators.generator import Generator

MIN_TRAINING_OTHERS = 50


def fit(
    generator: Generator,
    others: Tensor,
    *,
    method: str = "flipad",
    config: AttributionConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
    device: torch.device | str = "cpu",
) -> Attributor:
    """Fit an attributor for `generator` by one of `methods.METHODS`.

    `others` are images that the model did not make, (N, C, H, W), uint8 or float in [0, 1]: best
    the real images it was trained on.  A method that learns from them gets one part of them, the
    other part calibrates; any other method needs them to calibrate only.  `config` is of the
    method's own type; without one the method's default holds.
    """
    chosen = find_method(method)
    config = chosen.settings(config)
    pool = eight_bit(others, generator.image_shape)
    parts = _split_others(pool, config, seed)
    require_rate(config.false_negative_rate, config.calibration_samples, what="false-negative rate")
    material = Material(generator, pool[parts["train"]], seed, track, device)
    fitted = Attributor(
        method,
        config,
        chosen.fit(material, config),
        generator.image_shape,
        torch.empty(0),
        torch.empty(0),
        _provenance(generator, pool, seed),
    )
    held_seed = derive_seed(seed, "flipad", "calibration")
    own_held = sample_eight_bit(generator, config.calibration_samples, held_seed, track=track)
    return dataclasses.replace(
        fitted,
        own_scores=fitted.score(own_held, track=track),
        other_scores=fitted.score(pool[parts["calibration"]], track=track),
    )


def _split_others(pool: Tensor, config: AttributionConfig, seed: int) -> dict[str, list[int]]:
    keys = [digest_bytes(image.numpy().tobytes()) for image in pool]
    if len(set(keys)) < len(keys):
        raise InputError(
            f"{len(keys) - len(set(keys))} of the {len(keys)} other images are duplicates; "
            "remove them, so that calibration and training stay apart"
        )
    held, train = _part_sizes(config, len(keys))
    if train < (MIN_TRAINING_OTHERS if isinstance(config, TrainedConfig) else 0):
        raise InputError(
            f"there are {len(keys)} other images, at least {needed_others(config)} are needed; "
            "add images that the model did not make"
        )
    require_rate(config.false_positive_rate, held, what="false-positive rate")
    return split_indices(keys, {"calibration": held, "train": train}, seed=seed)


def _part_sizes(config: AttributionConfig, count: int) -> tuple[int, int]:
    """How many of `count` others calibrate, and how many a method may train on."""
    if not isinstance(config, TrainedConfig):
        return min(count, config.calibration_samples), 0
    held = round(config.other_calibration_share * count)
    return held, min(count - held, config.train_samples)


def needed_others(config: AttributionConfig) -> int:
    """The smallest number of other images that supports the false-positive rate."""
    held = needed_samples(config.false_positive_rate, what="false-positive rate")
    if not isinstance(config, TrainedConfig):
        return held
    share = config.other_calibration_share
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
