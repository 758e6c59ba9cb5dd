"""Fitting an inverter: one entry for every method of the thesis.

Cho: Deep Generative Models and Their Inversions For Bidirectional Transformation Between Data and
Latent Distributions, PhD thesis, Concordia University, 2025.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import digest_tensors
from wherefrom.inversion.config import InversionConfig, penalties_of
from wherefrom.inversion.equations import draw_latents
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.networks.assembly import Networks, build_networks
from wherefrom.inversion.networks.bodies import Architecture, StandardArchitecture
from wherefrom.inversion.recipes import RECIPES
from wherefrom.inversion.training.dataset import Dataset, TrainingLabels, make_dataset
from wherefrom.inversion.training.recording import Recorder
from wherefrom.inversion.training.task import InversionTask, refuse_divergence
from wherefrom.training.loop import Checkpoints, run


def fit(
    images: Tensor,
    *,
    config: InversionConfig | None = None,
    labels: TrainingLabels | None = None,
    architecture: Architecture | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    recorder: Recorder | None = None,
    track: Track = quiet,
) -> FittedInverter:
    """Train a generator and what inverts it.

    `images`: uint8 (N, C, S, S), or floats in [0, 1], or vectors float (N, D).  `labels` are needed
    by aedlsgan, cagan, acgan, revised-acgan and classifier.  `architecture`: networks of your own.
    With a `recorder` the run can be interrupted and continued, and is logged.
    """
    config = config or InversionConfig()
    if recorder is not None:
        recorder.prepare()
    dataset = make_dataset(images, labels or TrainingLabels(), config)
    _refuse_settings(config)
    bodies = architecture or StandardArchitecture(config, dataset.shape)
    networks = build_networks(config, dataset.shape, dataset.classes, bodies, seed=seed)
    task = InversionTask(dataset, networks, config, seed=seed, device=torch.device(device))
    provenance = _provenance(dataset, seed, own=architecture is not None)
    return _trained(task, provenance, recorder, track)


def fit_from(
    start: FittedInverter,
    images: Tensor,
    *,
    config: InversionConfig,
    seed: int = 0,
    device: torch.device | str = "cpu",
    track: Track = quiet,
) -> FittedInverter:
    """Train on, without labels, from the weights, v and P(C) of a fitted model.

    An `InputError` where `config` asks for other networks than those of `start`.
    """
    dataset = make_dataset(images, TrainingLabels(), config)
    _refuse_settings(config)
    own = bool(start.provenance.get("own_networks"))
    networks = _started_networks(start, dataset, config, own=own)
    task = InversionTask(dataset, networks, config, seed=seed, device=torch.device(device))
    task.state.traces.begin(start.trace, start.prior)
    provenance = _provenance(dataset, seed, own=own)
    provenance["start"] = digest_tensors(dict(start.networks.state_dict()))
    return _trained(task, provenance, None, track)


def _started_networks(
    start: FittedInverter, dataset: Dataset, config: InversionConfig, *, own: bool
) -> Networks:
    if own:
        return copy.deepcopy(start.networks).requires_grad_(True)
    bodies = StandardArchitecture(config, dataset.shape)
    networks = build_networks(config, dataset.shape, dataset.classes, bodies, seed=0)
    try:
        networks.load_state_dict(start.networks.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"the model to start from ({start.config.method}, {start.shape}) has other networks; "
            "use the same method, width, latents and classes"
        ) from error
    return networks


def _trained(
    task: InversionTask, provenance: dict[str, Any], recorder: Recorder | None, track: Track
) -> FittedInverter:
    """The fitted value at the end of the run."""
    config, prior, checkpoints = task.config, task.dataset.prior, None
    if recorder is not None:
        identity = {
            "config": _deciding(config),
            "prior": None if prior is None else prior.tolist(),
            **{k: v for k, v in provenance.items() if k != "digest"},
            "the training images or labels": provenance["digest"],
        }
        checkpoints = Checkpoints(
            path=recorder.checkpoint, every=recorder.checkpoint_every, identity=identity
        )

    def after_step(index: int, values: dict[str, float]) -> None:
        last = index + 1 == config.steps
        saved = last or (checkpoints is not None and (index + 1) % checkpoints.every == 0)
        refuse_divergence(task, index, values, weights=saved)
        if recorder is not None:
            recorder.add(index, values, lambda: task.snapshot(provenance), last=last)

    run(
        task,
        config.steps,
        label=f"training {config.method}",
        checkpoints=checkpoints,
        after_step=after_step,
        track=track,
    )
    return _calibrated(task, provenance, track)


def _deciding(config: InversionConfig) -> dict[str, Any]:
    """The settings that decide what a step does; their number only where a share of it matters."""
    values = config.to_dict()
    scheduled = config.mixed_batches or config.recipe.discovers
    if config.final_rate == 1 and not scheduled:
        del values["steps"]
    del values["calibration"], values["calibration_samples"]
    if config.critic == "plain":  # as in checkpoints from before there was another
        del values["critic"]
    return values


def _calibrated(task: InversionTask, provenance: dict[str, Any], track: Track) -> FittedInverter:
    """The snapshot with v and mean of the averaged encoder; "traced": as in the thesis."""
    fitted = task.snapshot(provenance)
    fitted.networks.requires_grad_(False)
    generator, has_prior = fitted.networks.generator, task.config.recipe.has_prior
    if fitted.networks.inverter is None or generator is None:
        return fitted
    if task.config.calibration == "traced" and has_prior:
        return fitted
    count, total = 0, torch.zeros(task.config.latent, dtype=torch.float64, device=fitted.device)
    squares = torch.zeros_like(total)
    parts = range(0, task.config.calibration_samples, 512)
    for start in track(parts, "calibrating the code", total=len(parts)):
        size = min(512, task.config.calibration_samples - start)
        codes = fitted.encode(_calibration_images(fitted, task, start, size)).double()
        count += size
        total += codes.sum(dim=0)
        squares += codes.square().sum(dim=0)
    mean = total / count
    variance = squares / count - mean.square()
    return dataclasses.replace(fitted, trace=variance.clamp_min(0).float(), mean=mean.float())


def _calibration_images(
    fitted: FittedInverter, task: InversionTask, start: int, size: int
) -> Tensor:
    """Generated images, not clipped, as the encoder saw them in training.

    For a method without a prior of codes they are training images.
    """
    rng = stream(task.seed, "inversion", "calibration", start)
    if not task.config.recipe.has_prior:
        rows = torch.randint(len(task.dataset.data), (size,), generator=rng)
        x = task.dataset.take(rows, fitted.device)[0]
        return x if x.ndim == 2 else (x + 1) / 2
    z = draw_latents(size, task.config.latent, task.config.latents, rng).to(fitted.device)
    if not fitted.needs_classes:
        return fitted.decode(z, clip=False)
    drawn = torch.multinomial(fitted.prior.cpu(), size, replacement=True, generator=rng)
    return fitted.decode(z, drawn.T, clip=False)


def _refuse_settings(config: InversionConfig) -> None:
    (r1, r2), recipe = penalties_of(config), config.recipe
    mixing = " and ".join(name for name, row in RECIPES.items() if row.may_mix)
    if config.mixed_batches and not recipe.may_mix:
        raise InputError(f"mixed batches are for {mixing}, not for {config.method}")
    if config.mixed_batches and r1 != r2:
        raise InputError(f"mixed batches need equal penalties, but r1 is {r1} and r2 is {r2}")
    if config.batch_deviation and (config.inverts or recipe.has_code):
        raise InputError("with batch_deviation a code would depend on its batch; leave it out")
    if config.adversarial == "relativistic" and not recipe.may_pair:
        raise InputError(
            f"relativistic pairs must be of one class, which {config.method} cannot arrange; "
            "choose nsgan"
        )
    if config.trace_start <= 0:
        raise InputError("trace_start must be above 0, or no latent would have a scale")


def _provenance(dataset: Dataset, seed: int, *, own: bool) -> dict[str, Any]:
    tensors = {"data": dataset.data}
    if dataset.labels is not None:
        tensors["labels"] = dataset.labels
    return {
        "seed": seed,
        "images": len(dataset.data),
        "digest": digest_tensors(tensors),
        "own_networks": own,
        "label_names": list(dataset.names),
    }
