"""`fit`: split the others, fit a scorer by any method, calibrate it on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.checking.fitted import Attributor, score_stored
from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.attribution.images.conditions import (
    CLEAN,
    CONDITIONS,
    KIND_OF,
    NOISY,
    NONE,
    Condition,
    Immunity,
    NoiseRange,
    Specialty,
    conditions_for,
    specialties,
)
from wherefrom.attribution.images.own_images import (
    CALIBRATION,
    STAND_INS,
    TRAINING,
    GivenImages,
    ImageSource,
    OwnInputs,
    OwnParts,
    describe_parts,
    sibling_part,
    split_own,
)
from wherefrom.attribution.methods import find_method, method_for
from wherefrom.attribution.protocol import (
    FitMaterial,
    Scorer,
    as_stored,
    sample_seed,
    stored_samples,
)
from wherefrom.attribution.training.held_out import HeldOutScores
from wherefrom.attribution.training.other_layers import self_made
from wherefrom.attribution.training.others import split_others, wanted_others
from wherefrom.attribution.training.siblings import SIBLING_KINDS, draw_siblings
from wherefrom.calibration.conformal import guaranteed_rate, require_rate
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.store import are_known, content_set, contents_of, digest_tensors
from wherefrom.data.images.writing import float_parts, to_float
from wherefrom.generators.generator import Generator
from wherefrom.metrics.noise_level import noise_level

MAX_REDRAWS = 20  # of a tenth of the calibration images, until enough are clean
NOISE_SAMPLES = 400


def fit(  # noqa: PLR0913 - each is a choice of the caller's, and a command's option
    generator: Generator,
    others: Tensor | None,
    *,
    own: Tensor | OwnInputs | None = None,
    method: str | None = None,
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
    them (`self_made`), which says less.  `own` are images that the model made, as its owner makes
    and keeps them, without loss; the fit then samples nothing and runs the last layer alone.  They
    are split in disjoint parts (`own_images`), duplicates count once, and as many of them calibrate
    as there are, up to what the settings ask for.  Instead of images, `OwnInputs`: latents or
    activations that they are made from here.  None: the model is sampled.

    `config` is of the method's own type; without one the method's default holds (`numbers` for rows
    and signals).  Without `method` it is that of the `config`; without both, `patches` for images
    and `flipad` for numbers.  `columns` are the names of a table's columns, which `check` then asks
    of every table.  Sampling, training and scoring run on `device`.
    """
    generator = generator.to(device)
    numbers = generator.makes_numbers
    chosen = find_method(method) if method else method_for(config, numbers=numbers)
    config = chosen.settings(config, numbers=numbers)
    given = {}
    if own is not None:
        given = _own_parts(own, generator, config, seed, stand_ins=others is None)
    if others is None:
        pool = _stand_ins(given.pop(STAND_INS, generator), config, seed, track)
    else:
        pool = as_stored(others, generator.image_shape)
        _refuse_shared(given, pool)
    parts = split_others(pool, config, seed)
    count, rate = config.calibration_samples, config.false_negative_rate
    require_rate(rate, count, what="false-negative rate")
    guaranteed_rate(rate, count, config.confidence, what="false-negative rate")
    if config.sibling_samples:
        require_rate(config.sibling_rate, config.sibling_samples, what="sibling rate")
    immunity = Immunity.of(config)
    specialties_wanted = _specialties_wanted(config, immunity)

    def fit_scorer(alterations: Immunity) -> Scorer:
        others_train = alterations.applied(pool[parts["train"]], seed, "others")
        material = FitMaterial(generator, others_train, seed, track, device, alterations, given)
        return chosen.fit(material, config)

    scorer = fit_scorer(NONE if specialties_wanted else immunity)
    experts = {kind: fit_scorer(each) for kind, each in specialties_wanted.items()}

    def score(images: Tensor, condition: str) -> Tensor:
        judge = experts.get(KIND_OF.get(condition, ""), scorer)
        return score_stored(judge, images, track=track)

    held = _held_out(generator, given, pool[parts["calibration"]], config, seed, track)
    conditions = conditions_for(immunity)
    has_noisy = any(condition.name == NOISY for condition in conditions)
    noise = _noise_range(given.get(TRAINING, generator), seed) if has_noisy else None
    more = None if given else generator
    clean, altered = calibrate(score, held, conditions, more, config, noise=noise)
    return Attributor(
        method=chosen.name,
        config=config,
        scorer=scorer,
        image_shape=generator.image_shape,
        own_scores=clean.own,
        other_scores=clean.other,
        sibling_scores=clean.siblings,
        altered=altered,
        noise=noise,
        experts=experts,
        provenance={
            **_provenance(generator, pool, seed, "self-made" if others is None else "given"),
            **({"own": describe_parts(given)} if given else {}),
            **({} if columns is None else {"columns": list(columns)}),
        },
        seen=_contents_used(pool[parts["train"] + parts["calibration"]], given),
    )


def _specialties_wanted(config: AttributionConfig, immunity: Immunity) -> dict[str, Specialty]:
    if not isinstance(config, TrainedConfig) or not config.experts:
        return {}
    if not immunity.kinds:
        raise InputError("experts are for altered files, and immunise is 0; give a share above 0")
    return specialties(immunity)


def _own_parts(
    own: Tensor | OwnInputs,
    generator: Generator,
    config: AttributionConfig,
    seed: int,
    *,
    stand_ins: bool,
) -> dict[str, GivenImages]:
    """The parts of own images, and of images made here; an `InputError` for too few."""
    shape, inputs = generator.image_shape, None
    if isinstance(own, Tensor):
        images = as_stored(own, shape)
    else:
        own.require(generator)
        rows, inputs = torch.split(torch.arange(len(own.values)), generator.batch_size), own
        parts = [as_stored(own.samples(generator, part)[0], shape) for part in rows]
        images = torch.cat(parts) if parts else torch.empty(0, *shape, dtype=torch.uint8)
    kinds = _calibrated_kinds(config)
    return dict(
        split_own(
            images, generator, config, kinds=kinds, seed=seed, stand_ins=stand_ins, inputs=inputs
        )
    )


def _refuse_shared(given: OwnParts, others: Tensor) -> None:
    """An `InputError` if an own image is also among the others."""
    if not given:
        return
    images = given[TRAINING].images
    shared = int(are_known(contents_of(images), content_set(contents_of(others))).sum())
    if shared:
        raise InputError(
            f"{shared} of the {len(images)} own images are also among the others; take them out "
            "of one of the two"
        )


def _stand_ins(source: ImageSource, config: AttributionConfig, seed: int, track: Track) -> Tensor:
    """Self-made others: of own images that are given, at most two each."""
    count = wanted_others(config)
    if isinstance(source, GivenImages):
        count = min(count, 2 * len(source))
    return self_made(source, count, seed=seed, track=track)


def _calibrated_kinds(config: AttributionConfig) -> tuple[str, ...]:
    return tuple(SIBLING_KINDS) if config.sibling_samples else ()


def _held_out(
    generator: Generator,
    given: OwnParts,
    other: Tensor,
    config: AttributionConfig,
    seed: int,
    track: Track,
) -> HeldOutImages:
    """Images to calibrate on: samples of the generator, or all of those that are given for it."""
    held_seed = sample_seed(seed, "calibration")

    def source_of(part: str, wanted: int) -> tuple[ImageSource, int]:
        return (given[part], len(given[part])) if given else (generator, wanted)

    own, count = source_of(CALIBRATION, config.calibration_samples)
    drawn = {
        kind: source_of(sibling_part(kind), config.sibling_samples)
        for kind in _calibrated_kinds(config)
    }
    return HeldOutImages(
        own=stored_samples(own, count, held_seed, track=track),
        other=other,
        seed=held_seed,
        siblings={
            kind: draw_siblings(source, kind, count, seed=held_seed, track=track)
            for kind, (source, count) in drawn.items()
        },
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOutImages:
    """Images that no fit has seen, uint8 (N, C, H, W)."""

    own: Tensor
    other: Tensor
    seed: int
    siblings: Mapping[str, Tensor] = field(default_factory=dict)  # by kind


def calibrate(
    score: Callable[[Tensor, str], Tensor],
    held: HeldOutImages,
    conditions: Sequence[Condition],
    generator: Generator | None,
    config: AttributionConfig,
    *,
    noise: NoiseRange | None = None,
) -> tuple[HeldOutScores, dict[str, HeldOutScores]]:
    """Scores of held-out images as they are, and by condition those of altered ones.

    `score` gets images and their condition.  With `noise` an image counts as clean or noisy by its
    noise level, as `Attributor.check` will see it, and more own images are drawn until enough are
    clean; with no `generator` there are no more.  A condition with too few scores for the rates is
    left out; clean images with too few are an `InputError`.
    """

    def finite_scores(images: Tensor, name: str) -> Tensor:
        scores = score(images, name)
        return scores[scores.isfinite()]  # the others are "cannot say", whatever the calibration

    def scores_in(change: Callable[[Tensor], Tensor], name: str) -> HeldOutScores:
        def unmistaken(images: Tensor) -> Tensor:
            """The images that `check` would take for images of this condition."""
            if noise is None or name not in (CLEAN, NOISY):
                return images
            levels = [noise_level(part) for part in float_parts(images)]
            return images[(torch.cat(levels) > noise.clean) == (name == NOISY)]

        own, other = (
            finite_scores(unmistaken(change(images)), name) for images in (held.own, held.other)
        )
        siblings = {
            kind: finite_scores(change(images), name) for kind, images in held.siblings.items()
        }
        return HeldOutScores(own, other, siblings)

    if noise is not None and generator is not None:
        held = replace(held, own=_enough_clean(held, noise, generator))
    clean = scores_in(lambda images: images, CLEAN)
    clean.require_rates(config)
    altered = {
        condition.name: scores_in(partial(condition.applied, seed=held.seed), condition.name)
        for condition in conditions
    }
    return clean, {name: held for name, held in altered.items() if held.supports_rates(config)}


def _enough_clean(held: HeldOutImages, noise: NoiseRange, generator: Generator) -> Tensor:
    """The own images, and more until as many are clean as there are own images.

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


def _noise_range(generator: ImageSource, seed: int) -> NoiseRange:
    """From own images of their own: the calibration images must not draw their own border."""
    source = sample_seed(seed, "noise range")
    own = stored_samples(generator, NOISE_SAMPLES, source)
    (noisy,) = (condition for condition in CONDITIONS if condition.name == NOISY)
    return NoiseRange.of(to_float(own), to_float(noisy.applied(own, source)))


def _contents_used(others: Tensor, given: OwnParts) -> Tensor:
    """The contents of all images that were given and used."""
    own = given[TRAINING].images if given else ()
    return content_set(torch.cat([contents_of(others), contents_of(own)]))


def _provenance(generator: Generator, pool: Tensor, seed: int, origin: str) -> dict[str, Any]:
    digest = digest_tensors({"images": pool})
    return {
        "generator": generator.describe(),
        "others": {"origin": origin, "count": len(pool), "digest": digest},
        "seed": seed,
    }
