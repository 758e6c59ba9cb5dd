"""How many images that the model did not make a fit needs, and which of them it trains on."""

from __future__ import annotations

import math

from torch import Tensor

from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.calibration.conformal import needed_samples, require_rate
from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.splits import split_indices

MIN_TRAINING_OTHERS = 50


def split_others(pool: Tensor, config: AttributionConfig, seed: int) -> dict[str, list[int]]:
    """Rows of the pool to calibrate and to train on; `InputError` for duplicates or too few."""
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


def wanted_others(config: AttributionConfig) -> int:
    """How many others a fit can use: so many it makes where it is given none."""
    if not isinstance(config, TrainedConfig):
        return max(needed_others(config), config.calibration_samples)
    use = math.ceil(config.train_samples / (1 - config.other_calibration_share))
    return max(needed_others(config), use)
