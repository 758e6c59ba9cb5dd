"""Scores of each contributor by every baseline of Table 1, for one study.

The generated images are those of the full model, sampled as in the study's runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import digest_json
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.baselines.gradients import (
    GradientConfig,
    GradientRows,
    image_gradients,
    noise_journey,
    projected_gradients,
)
from wherefrom.credit.baselines.scores import (
    DAMPING,
    cosine_scores,
    distance_scores,
    gather,
    largest_cosine_scores,
    relative_scores,
    renormalised_scores,
    trak_scores,
)
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.model import Diffusion, SamplingConfig, sample
from wherefrom.credit.game import Floats
from wherefrom.credit.properties import Embedder, PixelEmbedder, Property, RunOutput
from wherefrom.data.writing import to_float, to_uint8


class TrainingSet(NamedTuple):
    """Images of contributors as a model trains on them: latents (N, ...) and conditions (N,)."""

    data: Contributors
    latents: Tensor
    conditions: Tensor


class Generated(NamedTuple):
    """Images that a model generated, uint8 (G, C, H, W), their latents and conditions (G,).

    `trail`: (t, noisy latents (G, C, H, W)) of every step of sampling.
    """

    images: Tensor
    latents: Tensor
    conditions: Tensor
    trail: list[tuple[int, Tensor]]


def generate(model: Diffusion, sampling: SamplingConfig, *, track: Track = quiet) -> Generated:
    """Sample as the study's runs do, with the latents of every step."""
    parts: dict[int, list[Tensor]] = {}

    def keep(t: int, x: Tensor) -> None:
        parts.setdefault(t, []).append(x)

    images = to_uint8(sample(model, sampling, keep=keep, track=track))
    latents = model.codec.encode(to_float(images).to(model.device))
    given = (torch.arange(sampling.images) % model.conditions).to(model.device)
    return Generated(images, latents, given, [(t, torch.cat(xs)) for t, xs in parts.items()])


def similarity_baselines(
    data: Contributors, generated: Tensor, embedders: dict[str, Embedder]
) -> dict[str, Floats]:
    """Cosine (mean and largest) and distance in each space, as `pixel similarity (mean)`.

    `generated`: uint8 (G, C, H, W).  The pixels are always there; `embedders` adds others by name,
    as CLIP.
    """
    scores: dict[str, Floats] = {}
    for name, embedder in {"pixel": PixelEmbedder(), **embedders}.items():
        training, other = embedder.features(data.images), embedder.features(generated)
        scores |= _similarities(name, training, other, data)
        if name != "pixel":
            near = distance_scores(training, other)
            for how in ("mean", "max"):
                scores[f"{name} distance ({how})"] = gather(near, data.owner, data.players, how)
    return scores


def application_baselines(data: Contributors, measured: Property) -> dict[str, Floats]:
    """The property of each training image alone, its mean and maximum by contributor.

    `InputError` for a property that single images do not have, as a diversity.
    """
    try:
        scores = [measured(RunOutput(image[None])) for image in data.images]
    except InputError as error:
        raise InputError(
            f"the property {measured.name!r} is not one of single images: {error}"
        ) from error
    values = torch.tensor(scores, dtype=torch.float64)
    return {
        f"{measured.name} of the images ({how})": gather(values, data.owner, data.players, how)
        for how in ("mean", "max")
    }


def gradient_baselines(
    model: Diffusion,
    training: TrainingSet,
    generated: Generated,
    config: GradientConfig,
    *,
    damping: float = DAMPING,
    store: Path | None = None,
    track: Track = quiet,
) -> dict[str, Floats]:
    """Gradient similarity, TRAK, D-TRAK, Journey-TRAK, relative and renormalised influence.

    `model` is trained on all of `training`, and made `generated`.  With a `store` folder the
    gradients of the training images are saved there, and read where they are saved already.
    """
    data = training.data

    def rows(loss: str) -> tuple[Tensor, Tensor]:
        known = _training_gradients(model, training, config, loss, store=store, track=track)
        other = image_gradients(
            model, generated.latents, generated.conditions, config, loss=loss, track=track
        )
        return known, other

    simple, other = rows("simple")
    square, other_square = rows("square")
    model.network.eval()
    steps = noise_journey(model, generated.trail, generated.conditions, seed=config.seed)
    journey = projected_gradients(model, steps, config, track=track)
    scores = {
        "trak": trak_scores(simple, other, damping=damping),
        "d-trak": trak_scores(square, other_square, damping=damping),
        "journey-trak": trak_scores(simple, journey, damping=damping),
        "relative influence": relative_scores(simple, other, damping=damping),
        "renormalised influence": renormalised_scores(simple, other, damping=damping),
    }
    gathered = {
        f"{name} ({how})": gather(values, data.owner, data.players, how)
        for name, values in scores.items()
        for how in ("sum", "mean")
    }
    return gathered | _similarities("gradient", simple, other, data)


def _similarities(
    name: str, training: Tensor, other: Tensor, data: Contributors
) -> dict[str, Floats]:
    mean = gather(cosine_scores(training, other), data.owner, data.players, "mean")
    largest = largest_cosine_scores(training, other, data.owner).numpy()
    return {f"{name} similarity (mean)": mean, f"{name} similarity (max)": largest}


def _training_gradients(
    model: Diffusion,
    training: TrainingSet,
    config: GradientConfig,
    loss: str,
    *,
    store: Path | None,
    track: Track,
) -> Tensor:
    latents, conditions = training.latents, training.conditions.to(model.device)
    # The name says what the rows are of, so that other data or settings do not meet them.
    inputs = {"latents": latents, "conditions": conditions} | model.network.state_dict()
    inputs |= {} if model.prompts is None else {"prompts": model.prompts}
    name = f"gradients-{loss}-{digest_json({'of': digest_tensors(inputs), **config.to_dict()})}"
    place = None if store is None else store / name[:40]
    if place is not None and place.is_dir():
        return GradientRows.load(place).rows
    rows = image_gradients(model, latents, conditions, config, loss=loss, track=track)
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        GradientRows(rows).save(place)
    return rows
