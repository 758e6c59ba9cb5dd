"""The models of a study: the untrained, the full, and the pruned one.

Each is trained once and saved in the study's work folder; an interrupted training continues there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wherefrom.components.loading import settings_of
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.codecs import load_autoencoder_codec
from wherefrom.credit.diffusion.model import (
    Codec,
    Diffusion,
    DiffusionTask,
    Pixels,
    TrainingConfig,
    make_unet,
)
from wherefrom.credit.diffusion.own_network import find_own
from wherefrom.credit.diffusion.pruning import PrunedNetwork, prune
from wherefrom.credit.diffusion.schedules import DEFAULT
from wherefrom.credit.ledger.game import changed_names
from wherefrom.credit.study.diffusion_run import checkpoints_beside, copies_of
from wherefrom.credit.study.file import Study
from wherefrom.data.images.writing import float_parts
from wherefrom.training.loop import Checkpoints, run

CHECKPOINT_EVERY = 500
# The network of Ho et al. on CIFAR, used in Section 4.1: 35,746,307 weights for three channels.
PAPER = {
    "layers_per_block": 2,
    "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
}


@dataclass(frozen=True, eq=False)
class Models:
    """The models and latents of a game.

    `start(seed)` and `blank(seed)`: as in `DiffusionPlay`.  `full`: the model trained on all data,
    None in the game `retrain`.  `whole(track)`: that model in every game; `retrain` trains it at
    the first call.  `spec`: JSON values that determine all of them.  `conditions`: int64 (N,), of
    each image.  `notes`: sentences for the reader of the results.
    """

    start: Callable[[int], Diffusion]
    blank: Callable[[int], Diffusion]
    full: Diffusion | None
    latents: Tensor
    spec: Mapping[str, Any]
    conditions: Tensor
    whole: Callable[[Track], Diffusion]
    notes: tuple[str, ...] = ()


def make_models(
    study: Study,
    contributors: Contributors,
    *,
    device: str = "cpu",
    train: bool = True,
    track: Track = quiet,
) -> Models:
    """Load the models of a study's game; train and prune those that are not saved yet.

    Without `train`, an `InputError` if one of them is not saved.
    """
    builder, kind = _ModelBuilder(study, contributors, device), study.config.game.kind
    require_conditions(study, int(builder.settings.get("num_class_embeds") or 1))
    if kind == "retrain":
        return builder.models(builder.blank, None, {"network": builder.settings})
    full = start = builder.full(train=train, track=track)
    if kind == "sparsified":
        start = builder.pruned(full, train=train, track=track)
    return builder.models(copies_of(start), full, {"start": digest_of(start)})


def digest_of(model: Diffusion) -> str:
    """SHA-256 over the network's weights."""
    return digest_tensors(model.network.state_dict())


def untrained_model(study: Study, contributors: Contributors, *, device: str = "cpu") -> Diffusion:
    """An untrained model of the study's settings, to be timed."""
    return _ModelBuilder(study, contributors, device).blank(0)


def require_conditions(study: Study, count: int) -> None:
    """`InputError` for the game conditional-proxy with fewer than two conditions."""
    if study.config.game.kind == "conditional-proxy" and count < 2:
        raise InputError(
            "the game conditional-proxy samples the full model under the conditions of a subset, "
            "and all images of this model have one condition; set conditional = true in [model], "
            "for lora give images prompts of their own, or choose another game"
        )


def require_decoding(codec: Codec, latents: Tensor, side: int) -> None:
    """`InputError` for an autoencoder that gives NaN or infinite values, or images of another size.

    `latents` (N, c, h, w): of the study's images, of `side` px.
    """
    if latents.is_meta:  # shapes without values
        return
    damaged = int((~torch.isfinite(latents).flatten(1).all(1)).sum())
    if damaged:
        raise InputError(
            f"the autoencoder gives NaN or infinite latents of {damaged} of {len(latents)} images; "
            "its weights are damaged, or overflow"
        )
    image = codec.decode(latents[:1])
    if not bool(torch.isfinite(image).all()):
        raise InputError(
            "the autoencoder makes NaN or infinite pixels of the study's own images; its weights "
            "are damaged, or overflow"
        )
    if image.shape[-1] != side:
        raise InputError(
            f"[contributors] size: the autoencoder makes images of {image.shape[-1]} px from "
            f"images of {side} px; choose size = {image.shape[-1]}"
        )


def _require_size(network: nn.Module, shape: tuple[int, ...], side: int) -> None:
    """`InputError` if a network on the device meta cannot take latents of this shape (c, h, w).

    `side` of the images in px.
    """
    config = settings_of(network)
    multiple = 2 ** (len(config["block_out_channels"]) - 1)
    if shape[-1] % multiple == 0:
        return
    x, zero = torch.empty(1, *shape, device="meta"), torch.zeros(1, device="meta").long()
    given = {"class_labels": zero} if config.get("num_class_embeds") else {}
    with suppress(RuntimeError), torch.no_grad():
        if network(x, zero, **given).sample.shape == x.shape:
            return
    latents = "" if shape[-1] == side else f" (latents of {shape[-1]})"
    raise InputError(
        f"[contributors] size: images of {side} px{latents} do not fit a network of "
        f"{len(config['block_out_channels'])} resolutions; choose a size with "
        f"{'a side' if not latents else 'latents'} of a multiple of {multiple}, or fewer levels"
    )


def require_training(allowed: bool, label: str) -> None:
    """`InputError` if a model has to be trained and that is not `allowed`."""
    if not allowed:
        raise InputError(
            f"{label} is not trained yet; `wherefrom credit run` trains it, and `wherefrom credit "
            "plan` says how long that takes"
        )


@dataclass(frozen=True, eq=False)
class TrainedWeights(Artifact):
    """The weights of a training, with the JSON values `identity` that determine them."""

    kind: ClassVar[str] = "credit/weights"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "delete it, and the next run of the study trains again"

    identity: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    def to_saved(self) -> Saved:
        return Saved({"identity": self.identity}, self.weights)

    @classmethod
    def from_saved(cls, saved: Saved) -> TrainedWeights:
        return cls(saved.meta["identity"], saved.tensors)


class _ModelBuilder:
    """Makes the models of a study with a UNet2DModel, and saves those that are trained."""

    def __init__(self, study: Study, contributors: Contributors, device: str) -> None:
        self.study, self.contributors, self.device = study, contributors, device
        self.config = study.config
        self.codec = self._codec()
        parts = (part.to(device) for part in float_parts(contributors.images))
        self.latents = torch.cat([self.codec.encode(part) for part in parts])
        folder, needs = self.config.model.folder, self.config.game.kind != "retrain"
        self.own = find_own(self.study.place(folder), needs_weights=needs) if folder else None
        self.settings = self._settings()
        self.schedule = DEFAULT if self.own is None else self.own.schedule
        self.shape = (*self.latents.shape[1:],)
        require_decoding(self.codec, self.latents, contributors.images.shape[-1])
        with torch.device("meta"):  # settings that make no network are refused before any run
            network = make_unet(self.settings, seed=0)
        if self.own is not None:
            self.own.require_fitting(settings_of(network), self.latents, contributors.labels)
        _require_size(network, self.shape, contributors.images.shape[-1])

    def models(
        self, start: Callable[[int], Diffusion], full: Diffusion | None, spec: Mapping[str, Any]
    ) -> Models:
        """All models of the game, from those that its kind needs."""
        spec = {**spec, "codec": self.codec.identity}
        if self.schedule != DEFAULT:
            spec["schedule"] = self.schedule.to_dict()

        def whole(track: Track) -> Diffusion:
            return self.full(train=True, track=track) if full is None else full

        labels, notes = self.contributors.labels, () if self.own is None else self.own.notes
        return Models(start, self.blank, full, self.latents, spec, labels, whole, notes)

    def blank(self, seed: int) -> Diffusion:
        """An untrained model with the random weights of this seed."""
        return self._model(make_unet(self.settings, seed=seed))

    def full(self, *, train: bool, track: Track) -> Diffusion:
        """The model of all data: the user's own, or one trained here."""
        if self.own is not None and self.own.is_trained:
            return self._model(self.own.load())
        config, place = self.config, self.study.work / "full"
        identity = {
            "data": self.contributors.digests(),
            "network": self.settings,
            "training": config.training.to_dict(),
            "seed": config.study.seed,
        }
        if self.schedule != DEFAULT:
            identity["schedule"] = self.schedule.to_dict()
        if os.path.lexists(place):
            model, saved = self.blank(0), TrainedWeights.load(place)
            changed = changed_names(saved.identity, identity)
            if changed:
                raise InputError(
                    f"{show_path(place)} was trained with other settings ({', '.join(changed)}); "
                    "undo the change, or give [study] another work folder"
                )
            model.network.load_state_dict(dict(saved.weights))
            return model
        require_training(train or not config.training.steps, "the full model")
        with checkpoints_beside(place, identity, every=CHECKPOINT_EVERY) as checkpoints:
            task = self._task(self.blank(config.study.seed), config.training, place)
            model = _trained(task, "the full model", checkpoints, track)
            TrainedWeights(identity, model.network.state_dict()).save(place)
        return model

    def pruned(self, full: Diffusion, *, train: bool, track: Track) -> Diffusion:
        """The full model, pruned and recovered on all data.  Section 3.2."""
        c = self.config
        identity = {
            "full": digest_of(full),
            "pruning": c.pruning.to_dict(),
            "recovery": c.recovery.to_dict(),
            "data": self.contributors.digests(),
        }
        # The name is a digest of the recipe, so that another recipe has another folder.
        name = f"pruned-{derive_seed(c.study.seed, sorted(identity.items())):016x}"
        place = self.study.work / name
        if os.path.lexists(place):
            return self._model(PrunedNetwork.load(place).network)
        require_training(train or not c.recovery.steps, "the pruned model")
        model = copies_of(full)(0)
        plan = prune(model.network, c.pruning.ratio, rounding=c.pruning.rounding)
        with checkpoints_beside(place, identity, every=CHECKPOINT_EVERY) as checkpoints:
            task = self._task(model, c.recovery, place)
            model = _trained(task, "the pruned model", checkpoints, track)
            PrunedNetwork(model.network, plan).save(place)
        return model

    def _task(self, model: Diffusion, training: TrainingConfig, place: Path) -> DiffusionTask:
        labels = self.contributors.labels.to(self.device)
        seed = derive_seed(self.config.study.seed, "credit", place.name)
        return DiffusionTask(model, self.latents, labels, training, seed=seed)

    def _model(self, network: nn.Module) -> Diffusion:
        classes = int(self.settings.get("num_class_embeds") or 0)
        network = network.to(self.device)
        return Diffusion(network, self.shape, self.codec, classes, schedule=self.schedule)

    def _codec(self) -> Codec:
        model = self.config.model
        if model.kind == "ddpm":
            return Pixels()
        if not model.autoencoder:
            raise InputError("a latent model needs its autoencoder; name it in [model]")
        folder = self.study.place(model.autoencoder)
        grey = self.contributors.images.shape[1] == 1
        return load_autoencoder_codec(folder, grey=grey).to(self.device)

    def _settings(self) -> dict[str, Any]:
        """The config of the UNet2DModel."""
        m, channels, side = self.config.model, self.latents.shape[1], self.latents.shape[-1]
        if self.own is not None:
            return self.own.component.config
        images = {"sample_size": side, "in_channels": channels, "out_channels": channels}
        if m.conditional:
            images["num_class_embeds"] = int(self.contributors.labels.max()) + 1
        if m.paper:
            return {**PAPER, **images}
        attended = [m.attention and level == m.levels - 2 for level in range(m.levels)]
        return {
            "num_class_embeds": None,
            **images,
            "layers_per_block": m.blocks,
            "block_out_channels": [m.width * min(2**level, 4) for level in range(m.levels)],
            "down_block_types": [f"{'Attn' * a}DownBlock2D" for a in attended],
            "up_block_types": [f"{'Attn' * a}UpBlock2D" for a in reversed(attended)],
            "norm_num_groups": m.groups,
            "attention_head_dim": None,
            "add_attention": m.attention,
        }


def _trained(
    task: DiffusionTask, label: str, checkpoints: Checkpoints | None, track: Track
) -> Diffusion:
    if task.config.steps:
        run(
            task, task.config.steps, label=f"training {label}", checkpoints=checkpoints, track=track
        )
        task.finish()
    return task.model
