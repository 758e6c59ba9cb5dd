"""One way in for every method: split, fit, calibrate.  Larger score = less likely ours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.conditions import (
    CLEAN,
    CONDITIONS,
    NOISY,
    Condition,
    NoiseRange,
    Specialty,
    conditions_for,
    specialties,
)
from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.immunity import NONE, Immunity
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import Material, Scorer, as_stored, stored_samples
from wherefrom.attribution.training.held_out import Calibration
from wherefrom.attribution.training.other_layers import self_made
from wherefrom.attribution.training.siblings import SIBLING_KINDS, draw_siblings
from wherefrom.calibration.conformal import guaranteed_rate, needed_samples, require_rate
from wherefrom.core.contents import content_set, contents_of
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.store import digest_bytes, digest_tensors
from wherefrom.data.splits import split_indices
from wherefrom.data.writing import float_parts, to_float
from wherefrom.generators.generator import Generator
from wherefrom.metrics.noise_level import noise_level

MIN_TRAINING_OTHERS = 50
MAX_REDRAWS = 20  # of a tenth of the calibration images, until enough are clean
NOISE_SAMPLES = 400


def fit(
    generator: Generator,
    others: Tensor | None,
    *,
    method: str = "flipad",
    config: AttributionConfig | None = None,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    track: Track = quiet,
    device: torch.device | str = "cpu",
) -> Attributor:
    """Fit an attributor for `generator` by one of `methods.METHODS`.

    `others` are images that the model did not make, (N, C, H, W), uint8 or float in [0, 1]: best
    the real images it was trained on; for a model of rows (N, D) or signals (N, C, T) floats.  A
    method that learns from them gets one part of them, the other part calibrates; any other method
    needs them to calibrate only.  None: there are none, and the model's own content stands in for
    them (`self_made`), which says less.  `config` is of the method's own type; without one the
    method's default holds (`numbers` for rows and signals).  `columns` are the names of a table's
    columns, which `check_paths` then asks of every table.
    """
    chosen = find_method(method)
    config = chosen.settings(config, numbers=generator.makes_numbers)
    if others is None:
        pool = self_made(generator, wanted_others(config), seed=seed, track=track)
    else:
        pool = as_stored(others, generator.image_shape)
    parts = _split_others(pool, config, seed)
    count, rate = config.calibration_samples, config.false_negative_rate
    require_rate(rate, count, what="false-negative rate")
    guaranteed_rate(rate, count, config.confidence, what="false-negative rate")
    if config.sibling_samples:
        require_rate(config.sibling_rate, config.sibling_samples, what="sibling rate")
    immunity = Immunity.of(config)
    apart = _experts_wanted(config, immunity)

    def scorer(worn: Immunity) -> Scorer:
        others_train = worn.applied(pool[parts["train"]], seed, "others")
        return chosen.fit(Material(generator, others_train, seed, track, device, worn), config)

    fitted = Attributor(
        method,
        config,
        scorer(NONE if apart else immunity),
        generator.image_shape,
        torch.empty(0),
        torch.empty(0),
        {
            **_provenance(generator, pool, seed, "self-made" if others is None else "given"),
            **({} if columns is None else {"columns": list(columns)}),
        },
        experts={kind: scorer(worn) for kind, worn in apart.items()},
        seen=content_set(contents_of(pool[parts["train"] + parts["calibration"]])),
    )
    held_seed = derive_seed(seed, "flipad", "calibration")
    own_held = stored_samples(generator, config.calibration_samples, held_seed, track=track)
    siblings = {
        kind: draw_siblings(generator, kind, config.sibling_samples, seed=held_seed, track=track)
        for kind in (SIBLING_KINDS if config.sibling_samples else ())
    }
    held = Held(own_held, pool[parts["calibration"]], held_seed, siblings)
    return calibrated(fitted, held, conditions_for(immunity), generator, seed, track=track)


def _experts_wanted(config: AttributionConfig, immunity: Immunity) -> dict[str, Specialty]:
    if not isinstance(config, TrainedConfig) or not config.experts:
        return {}
    if not immunity.kinds:
        raise InputError("experts are for altered files, and immunise is 0; give a share above 0")
    return specialties(immunity)


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """Images that no fit has seen, uint8 (N, C, H, W)."""

    own: Tensor
    other: Tensor
    seed: int
    siblings: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)  # by kind


def calibrated(
    fitted: Attributor,
    held: Held,
    conditions: Sequence[Condition],
    generator: Generator,
    seed: int,
    *,
    track: Track = quiet,
) -> Attributor:
    """The attributor with scores of held-out images, as they are and in each condition."""
    noise = None
    if any(one.name == NOISY for one in conditions):
        noise = _noise_range(generator, seed)

    def scores(change: Callable[[Tensor], Tensor], name: str) -> Calibration:
        found = []
        for images in map(change, (held.own, held.other)):
            kept = images
            if noise is not None and name in (CLEAN, NOISY):  # what `check` would see so
                levels = [noise_level(part) for part in float_parts(images)]
                is_noisy = torch.cat(levels) > noise.clean
                kept = images[is_noisy == (name == NOISY)]
            scored = fitted.score(kept, condition=name, track=track)
            found.append(scored[scored.isfinite()])  # `check` cannot say of the others
        siblings = {}
        for kind, images in held.siblings.items():
            scored = fitted.score(change(images), condition=name, track=track)
            siblings[kind] = scored[scored.isfinite()]
        own, other = found
        return Calibration(own, other, siblings)

    if noise is not None:
        held = dataclasses.replace(held, own=_enough_clean(held, noise, generator))
    clean = scores(lambda images: images, CLEAN)
    _require_rates(clean, fitted.config)
    further = {
        one.name: scores(lambda images, one=one: one.applied(images, held.seed), one.name)  # type: ignore[misc]
        for one in conditions
    }
    further = {name: found for name, found in further.items() if _supports(found, fitted.config)}
    return dataclasses.replace(
        fitted,
        own_scores=clean.own,
        other_scores=clean.other,
        sibling_scores=clean.siblings,
        further=further,
        noise=noise,
    )


def _enough_clean(held: Held, noise: NoiseRange, generator: Generator) -> Tensor:
    """The own images, and further ones until as many are clean as there are own images.

    Few own images are noisy by themselves; without more, the clean ones may be too few for a rate
    that their number just supports.
    """
    wanted, own = len(held.own), held.own
    for number in range(MAX_REDRAWS):
        if int((noise_level(to_float(own)) <= noise.clean).sum()) >= wanted:
            break
        seed = derive_seed(held.seed, "more", number)
        own = torch.cat([own, stored_samples(generator, max(1, wanted // 10), seed)])
    return own


def _supports(found: Calibration, config: AttributionConfig) -> bool:
    """Whether a condition has enough images for the rates: the noisy one may lack them."""
    try:
        _require_rates(found, config)
    except InputError:
        return False
    return True


def _require_rates(found: Calibration, config: AttributionConfig) -> None:
    """An `InputError` if the rates need more held-out images than those that were scored."""
    rate, own, other = config.false_negative_rate, len(found.own), len(found.other)
    require_rate(rate, own, what="false-negative rate")
    guaranteed_rate(rate, own, config.confidence, what="false-negative rate")
    require_rate(config.false_positive_rate, other, what="false-positive rate")
    for kind, scores in found.siblings.items():
        require_rate(config.sibling_rate, len(scores), what=f"sibling rate ({kind})")


def _noise_range(generator: Generator, seed: int) -> NoiseRange:
    """From own images of their own: the calibration images must not draw their own border."""
    source = derive_seed(seed, "flipad", "noise range")
    own = stored_samples(generator, NOISE_SAMPLES, source)
    (noisy,) = (one for one in CONDITIONS if one.name == NOISY)
    return NoiseRange.of(to_float(own), to_float(noisy.applied(own, source)))


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


def wanted_others(config: AttributionConfig) -> int:
    """How many others a fit can use: so many it makes where it is given none."""
    if not isinstance(config, TrainedConfig):
        return max(needed_others(config), config.calibration_samples)
    use = math.ceil(config.train_samples / (1 - config.other_calibration_share))
    return max(needed_others(config), use)


def _provenance(generator: Generator, pool: Tensor, seed: int, origin: str) -> dict[str, Any]:
    digest = digest_tensors({"images": pool})
    return {
        "generator": generator.describe(),
        "others": {"origin": origin, "count": len(pool), "digest": digest},
        "seed": seed,
    }
