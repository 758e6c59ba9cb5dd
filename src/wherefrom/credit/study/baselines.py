"""Scores of each contributor without any retraining: the baselines of Table 1.  App. C.

Each gives a score to every pair of a training image and a generated image, larger = more credit;
they are averaged over the generated images, and gathered by contributor: the sum for influence and
TRAK, mean or maximum for similarities.  A sum favours who gave much, so the mean is there too.  The
generated images are those of the full model, sampled as in the study's runs.

Symbols:
    Phi     projected gradients of the N training images, (N, k)
    gamma   those of the G generated images, (G, k)
    H       Phi^T Phi + lambda I, (k, k)

Deviation: lambda is a multiple of the mean of the diagonal of Phi^T Phi, because an absolute one
(5e-1 in the paper) means another thing for every network and every k.
Deviation: the distance of embeddings carries a minus, so that near is much credit.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.json_text import digest_json
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.gradients import (
    GradientConfig,
    GradientRows,
    image_gradients,
    noise_journey,
    projected_gradients,
)
from wherefrom.credit.diffusion.model import Diffusion, SamplingConfig, sample
from wherefrom.credit.diffusion.properties import Embedder, PixelEmbedder, Property, RunOutput
from wherefrom.credit.ledger.game import Floats
from wherefrom.data.images.writing import to_float, to_uint8

GATHERINGS = ("sum", "mean", "max")
DAMPING = 0.5


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


def gather(scores: Tensor, owner: Tensor, players: int, how: str) -> Floats:
    """Scores of images (N,) as scores of contributors, float64 (n,)."""
    if how not in GATHERINGS:
        raise InputError(f"scores are gathered by {how!r}; choose one of {', '.join(GATHERINGS)}")
    if scores.shape != owner.shape:
        raise InputError(f"there are {len(scores)} scores of {len(owner)} images")
    values = scores.double().numpy()
    rows = [values[owner.numpy() == player] for player in range(players)]
    return np.array([getattr(row, how)() for row in rows], dtype=np.float64)


def cosine_scores(training: Tensor, generated: Tensor) -> Tensor:
    """Mean cosine of each row (N, D) with the rows (G, D), float64 (N,).  App. C; Eq. 12."""
    unit, other = (F.normalize(rows.double(), dim=1) for rows in (training, generated))
    return unit @ other.mean(0)


def largest_cosine_scores(training: Tensor, generated: Tensor, owner: Tensor) -> Tensor:
    """For each generated row the largest cosine within a contributor, averaged, float64 (n,)."""
    unit, other = (F.normalize(rows.double(), dim=1) for rows in (training, generated))
    cosines = unit @ other.T
    players = int(owner.max()) + 1
    return torch.stack([cosines[owner == p].amax(0).mean() for p in range(players)])


def distance_scores(training: Tensor, generated: Tensor) -> Tensor:
    """Minus the mean distance of each row (N, D) to the rows (G, D), float64 (N,)."""
    return -torch.cdist(training.double(), generated.double()).mean(1)


def trak_scores(training: Tensor, generated: Tensor, *, damping: float = DAMPING) -> Tensor:
    """Phi H^-1 gamma averaged over gamma, float64 (N,).  Eq. 13; D-TRAK and Journey by the rows."""
    phi = training.double()
    return phi @ _solve(phi, generated.double().mean(0)[None], damping)[0]


def relative_scores(training: Tensor, generated: Tensor, *, damping: float = DAMPING) -> Tensor:
    """TRAK scores over the length of H^-1 phi of each training image, float64 (N,).  Eq. 19."""
    phi = training.double()
    turned = _solve(phi, phi, damping)
    return (turned @ generated.double().mean(0)) / _lengths(turned)


def renormalised_scores(training: Tensor, generated: Tensor, *, damping: float = DAMPING) -> Tensor:
    """TRAK scores over the length of phi of each training image, float64 (N,).  Eq. 21."""
    return trak_scores(training, generated, damping=damping) / _lengths(training.double())


def _solve(phi: Tensor, rows: Tensor, damping: float) -> Tensor:
    """H^-1 applied to rows (m, k), by the smaller of the two symmetric systems."""
    n, k = phi.shape
    if not damping > 0:
        raise InputError(f"the damping is {damping}; give more than 0")
    ridge = damping * phi.square().sum() / k
    if not bool(torch.isfinite(ridge)) or float(ridge) == 0:
        raise InputError("the gradients of the training images are all zero, or not finite")
    if k <= n:
        factor = torch.linalg.cholesky(phi.T @ phi + ridge * torch.eye(k, dtype=phi.dtype))
        return torch.cholesky_solve(rows.T, factor).T
    # (Phi^T Phi + r I)^-1 v = (v - Phi^T (Phi Phi^T + r I)^-1 Phi v) / r
    factor = torch.linalg.cholesky(phi @ phi.T + ridge * torch.eye(n, dtype=phi.dtype))
    return (rows - torch.cholesky_solve(phi @ rows.T, factor).T @ phi) / ridge


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1).clamp(min=torch.finfo(rows.dtype).tiny)
    return lengths
