"""Fitting an inverter: one entry for every method of the thesis.

Cho: Deep Generative Models and Their Inversions For Bidirectional Transformation Between Data and
Latent Distributions, PhD thesis, Concordia University, 2025.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.store import digest_tensors
from wherefrom.inversion.config import (
    DISCOVERY_METHODS,
    LABELLED,
    InversionConfig,
    penalties_of,
)
from wherefrom.inversion.latents import draw_latents
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.networks.assembly import Classes, Networks, build_networks
from wherefrom.inversion.networks.bodies import Architecture, StandardArchitecture
from wherefrom.inversion.training.recording import Recorder
from wherefrom.inversion.training.task import Dataset, InversionTask, refuse_divergence
from wherefrom.training.loop import Checkpoints, run

FEWEST_IMAGES = 2


def fit(
    images: Tensor,
    *,
    method: str | None = None,
    config: InversionConfig | None = None,
    labels: Tensor | None = None,
    prior: Tensor | None = None,
    label_names: Sequence[str] = (),
    architecture: Architecture | None = None,
    start: FittedInverter | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    recorder: Recorder | None = None,
    track: Track = quiet,
) -> FittedInverter:
    """Train a generator and what inverts it.

    `images`: uint8 (N, C, S, S), or floats in [0, 1], or vectors float (N, D).  `labels`: int64
    (N,) for one label of K classes, or (N, A) of 0 and 1 for A attributes; needed by aedlsgan,
    cagan, acgan, revised-acgan and classifier.  `label_names`: of the K classes or A attributes.
    `prior`: P(C), (K,) or (L, K); default: as labelled, or uniform.
    With a `recorder` the run can be interrupted and continued, and is logged.  `start`: a model of
    the same shape whose weights, v and P(C) the run begins with, in place of random ones.
    """
    config = config or InversionConfig()
    if method is not None:
        config = config.with_values({"method": method})
    if recorder is not None:
        recorder.prepare()
    dataset = _dataset(images, labels, config)
    _refuse_settings(config)
    made = architecture or StandardArchitecture(config, dataset.shape)
    networks = build_networks(config, dataset.shape, dataset.classes, made, seed=seed)
    wanted = _prior(prior, dataset)
    if start is not None:
        _take_weights(networks, start)
    provenance = _provenance(dataset, seed, own=architecture is not None)
    provenance["label_names"] = list(label_names)
    if start is not None:
        provenance["start"] = digest_tensors(dict(start.networks.state_dict()))
    task = InversionTask(
        dataset, networks, config, prior=wanted, seed=seed, device=torch.device(device)
    )
    if start is not None:
        task.players.traces.begin(start.trace, start.prior if wanted is None else wanted)
    _run(task, provenance, wanted, recorder, track)
    return _calibrated(task, provenance, track)


def _take_weights(networks: Networks, start: FittedInverter) -> None:
    try:
        networks.load_state_dict(start.networks.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"the model to start from ({start.config.method}, {start.shape}) has other networks; "
            "use the same method, width, latents and classes"
        ) from error


def _run(
    task: InversionTask,
    provenance: dict[str, Any],
    prior: Tensor | None,
    recorder: Recorder | None,
    track: Track,
) -> None:
    config = task.config
    checkpoints = None
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
        if last or (checkpoints is not None and (index + 1) % checkpoints.every == 0):
            refuse_divergence(task, index, values)
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


def _deciding(config: InversionConfig) -> dict[str, Any]:
    """The settings that decide what a step does; their number only where a share of it matters."""
    values = config.to_dict()
    scheduled = config.mixed_batches or config.method in DISCOVERY_METHODS
    if config.final_rate == 1 and not scheduled:
        del values["steps"]
    del values["calibration"], values["calibration_samples"]
    return values


def _calibrated(task: InversionTask, provenance: dict[str, Any], track: Track) -> FittedInverter:
    """The snapshot with v and mean of the averaged encoder; "traced": as in the thesis."""
    fitted = task.snapshot(provenance)
    fitted.networks.requires_grad_(False)
    generator, method = fitted.networks.generator, task.config.method
    if fitted.networks.inverter is None or generator is None:
        return fitted
    if task.config.calibration == "traced" and method != "autoencoder":
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

    For the autoencoder, which has no prior of codes, they are training images.
    """
    rng = stream(task.seed, "inversion", "calibration", start)
    if task.config.method == "autoencoder":
        rows = torch.randint(len(task.dataset.data), (size,), generator=rng)
        x = task.dataset.take(rows, fitted.device)[0]
        return x if x.ndim == 2 else (x + 1) / 2
    z = draw_latents(size, task.config.latent, task.config.latents, rng).to(fitted.device)
    generator = fitted.networks.generator
    if generator is None or generator.classes == 1:
        return fitted.decode(z, clip=False)
    drawn = torch.multinomial(fitted.prior.cpu(), size, replacement=True, generator=rng)
    return fitted.decode(z, drawn.T, clip=False)


def _dataset(images: Tensor, labels: Tensor | None, config: InversionConfig) -> Dataset:
    if images.ndim not in (2, 4):
        raise InputError(
            f"images of shape {tuple(images.shape)}, expected (N, C, S, S), or vectors (N, D)"
        )
    if len(images) < FEWEST_IMAGES:
        raise InputError(f"{len(images)} images to train on; give at least {FEWEST_IMAGES}")
    data = _in_memory(images)
    if config.method in LABELLED:
        if labels is None:
            raise InputError(
                f"{config.method} learns from labels; give one per image, or choose a method "
                "without, such as dlsgan or cgpgan"
            )
        rows, classes = _checked_labels(labels, len(data))
        return Dataset(data, rows, classes)
    if labels is not None:
        raise InputError(f"{config.method} takes no labels; choose one of {', '.join(LABELLED)}")
    found = config.method in DISCOVERY_METHODS
    return Dataset(data, None, Classes(config.labels, config.classes) if found else Classes())


def _in_memory(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8 and images.ndim == 4:
        return images
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; expected uint8 or floating point in [0, 1]")
    if not bool(torch.isfinite(images).all()):
        raise InputError("the images hold NaN or infinite values; remove them before training")
    if images.ndim == 2:
        return images.float()
    if float(images.min()) < 0 or float(images.max()) > 1:
        raise InputError("images have values outside [0, 1]; scale them before training")
    return images.float().mul(2).sub(1)


def _checked_labels(labels: Tensor, count: int) -> tuple[Tensor, Classes]:
    rows = labels[:, None] if labels.ndim == 1 else labels
    if rows.ndim != 2 or len(rows) != count or rows.is_floating_point():
        raise InputError(
            f"labels of shape {tuple(labels.shape)} ({labels.dtype}) for {count} images; expected "
            f"integers ({count},), or ({count}, A) of 0 and 1"
        )
    rows = rows.long()
    missing = int((rows < 0).any(dim=1).sum())
    if missing:
        raise InputError(f"{missing} images have no label (below 0); label them or leave them out")
    several, highest = rows.shape[1] > 1, int(rows.max())
    if several and highest > 1:
        raise InputError(f"attributes must be 0 or 1, but one is {highest}")
    classes = Classes(rows.shape[1], 2 if several else highest + 1)
    if classes.classes < 2:
        raise InputError("all images have one label; give at least two classes")
    for place in range(classes.labels):
        empty = set(range(classes.classes)) - set(rows[:, place].tolist())
        if empty:
            raise InputError(
                f"no image has class {min(empty)} of label {place}; number the classes without gaps"
            )
    return rows, classes


def _prior(prior: Tensor | None, dataset: Dataset) -> Tensor | None:
    shape = dataset.classes.shape
    if prior is not None:
        rows = prior.float().reshape(-1, prior.shape[-1])
        sums = rows.sum(dim=1)
        if rows.shape != shape or bool((rows < 0).any()) or bool(((sums - 1).abs() > 1e-4).any()):
            raise InputError(
                f"the prior is {prior.tolist()}; expected {shape[0]} rows of {shape[1]} "
                "probabilities that add up to 1"
            )
        return rows
    if dataset.labels is None:
        return None
    counts = [torch.bincount(column, minlength=shape[1]) for column in dataset.labels.T]
    return torch.stack(counts).float() / len(dataset.labels)


def _refuse_settings(config: InversionConfig) -> None:
    r1, r2 = penalties_of(config)
    inverts = config.inverts or config.method not in (
        "cagan", "acgan", "revised-acgan", *DISCOVERY_METHODS
    )  # fmt: skip
    if config.mixed_batches and config.method not in ("cagan", "acgan", "revised-acgan"):
        raise InputError("mixed batches are for cagan, acgan and revised-acgan")
    if config.mixed_batches and r1 != r2:
        raise InputError(f"mixed batches need equal penalties, but r1 is {r1} and r2 is {r2}")
    if config.batch_deviation and inverts:
        raise InputError("with batch_deviation a code would depend on its batch; leave it out")
    if config.adversarial == "relativistic" and config.method in ("aedlsgan", *DISCOVERY_METHODS):
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
    }
