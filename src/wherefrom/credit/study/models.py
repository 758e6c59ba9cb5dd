"""The models of a study: the network to begin with, the full one, and the pruned one.

What costs training is made once, in the study's work folder, and continues where it was stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.components.loading import settings_of
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.core.store import digest_tensors, load_artifact, save_artifact
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
from wherefrom.credit.diffusion.pruning import load_pruned, prune, save_pruned
from wherefrom.credit.diffusion.schedules import DEFAULT
from wherefrom.credit.running.diffusion_run import copies_of
from wherefrom.credit.study.file import Study
from wherefrom.data.writing import float_parts
from wherefrom.training.loop import Checkpoints, run

KIND, SCHEMA = "credit/network", 1
CHECKPOINT_EVERY = 500
# Of Ho et al. on CIFAR, as Section 4.1 takes it: 35,746,307 weights for three channels.
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
    """What a game begins with.

    `start(seed)` and `blank(seed)` as `DiffusionPlay` wants them; `full` is the model trained on
    all data, where the game begins with one.  `whole(track)` is that model for every game: the game
    `retrain` trains it when it is asked for.  `spec` is JSON values that decide all of them.
    """

    start: Callable[[int], Diffusion]
    blank: Callable[[int], Diffusion]
    full: Diffusion | None
    latents: Tensor
    spec: Mapping[str, Any]
    conditions: Tensor  # int64 (N,), of each image
    whole: Callable[[Track], Diffusion]
    notes: tuple[str, ...] = ()  # sentences that the reader of the results has to know


def make_models(
    study: Study,
    contributors: Contributors,
    *,
    device: str = "cpu",
    train: bool = True,
    track: Track = quiet,
) -> Models:
    """Load what the study's game begins with; train and prune what is not there yet.

    Without `train` it is an `InputError` if something would have to be trained.
    """
    maker = _Maker(study, contributors, device, track, train=train)
    kind = study.config.game.kind
    require_conditions(study, int(maker.settings.get("num_class_embeds") or 1))
    if kind == "retrain":
        return maker.models(maker.blank, None, {"network": maker.settings})
    full = maker.full()
    if kind != "sparsified":
        return maker.models(copies_of(full), full, {"start": digest_of(full)})
    pruned = maker.pruned(full)
    return maker.models(copies_of(pruned), full, {"start": digest_of(pruned)})


def digest_of(model: Diffusion) -> str:
    """SHA-256 over the network's weights."""
    return digest_tensors(model.network.state_dict())


def untrained_model(study: Study, contributors: Contributors, *, device: str = "cpu") -> Diffusion:
    """A model of the study's shape without any training, to be timed."""
    return _Maker(study, contributors, device, quiet, train=False).blank(0)


def require_conditions(study: Study, count: int) -> None:
    """`InputError` for the proxy game of a model that is told the same of every image."""
    if study.config.game.kind == "conditional-proxy" and count < 2:
        raise InputError(
            "the game conditional-proxy samples the full model under the conditions of a subset, "
            "and this model is told none that differ; set conditional = true in [model], for lora "
            "give images prompts of their own, or choose another game"
        )


def require_decoding(codec: Codec, latents: Tensor, side: int) -> None:
    """`InputError` unless the latents (N, c, h, w) of images of `side` px, and what is decoded of
    them, are finite and of that size.
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
            f"[contributors] size: the autoencoder makes images of {image.shape[-1]} px of those "
            f"of {side} px; choose size = {image.shape[-1]}"
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
    """`InputError` where something has to be trained and the caller does not want to wait."""
    if not allowed:
        raise InputError(
            f"{label} is not trained yet; `wherefrom credit run` trains it, and `wherefrom credit "
            "plan` says how long that takes"
        )


class _Maker:
    def __init__(
        self,
        study: Study,
        contributors: Contributors,
        device: str,
        track: Track,
        *,
        train: bool = True,
    ) -> None:
        self.study, self.contributors = study, contributors
        self.device, self.track, self.train = device, track, train
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
        """The result."""
        spec = {**spec, "codec": self.codec.identity}
        if self.schedule != DEFAULT:
            spec["schedule"] = self.schedule.to_dict()
        labels = self.contributors.labels
        whole, notes = self._whole(full), () if self.own is None else self.own.notes
        return Models(start, self.blank, full, self.latents, spec, labels, whole, notes)

    def _whole(self, full: Diffusion | None) -> Callable[[Track], Diffusion]:
        def whole(track: Track) -> Diffusion:
            if full is not None:
                return full
            self.track, self.train = track, True
            return self.full()

        return whole

    def blank(self, seed: int) -> Diffusion:
        """An untrained model, its weights decided by the seed."""
        return self._model(make_unet(self.settings, seed=seed))

    def full(self) -> Diffusion:
        """The model of all data: the user's own, or trained here."""
        if self.own is not None and self.own.is_trained:
            return self._model(self.own.load())
        identity = {
            "data": self.contributors.digests(),
            "network": self.settings,
            "training": self.config.training.to_dict(),
            "seed": self.config.study.seed,
        }
        if self.schedule != DEFAULT:
            identity["schedule"] = self.schedule.to_dict()
        place = self.study.work / "full"
        if os.path.lexists(place):
            model = self.blank(0)
            model.network.load_state_dict(_load(place, identity))
            return model
        model = self.blank(self.config.study.seed)
        model = self._train(model, self.config.training, place, identity, "the full model")
        weights = model.network.state_dict()
        save_artifact(place, kind=KIND, schema=SCHEMA, meta={"identity": identity}, tensors=weights)
        self._forget(place)
        return model

    def pruned(self, full: Diffusion) -> Diffusion:
        """The full model, pruned and recovered on all data.  Section 3.2."""
        c = self.config
        identity = {
            "full": digest_of(full),
            "pruning": c.pruning.to_dict(),
            "recovery": c.recovery.to_dict(),
            "data": self.contributors.digests(),
        }
        # The name says what it was made of, so that another recipe does not meet it.
        name = f"pruned-{derive_seed(c.study.seed, sorted(identity.items())):016x}"
        place = self.study.work / name
        if os.path.lexists(place):
            return self._model(load_pruned(place)[0])
        model = copies_of(full)(0)
        plan = prune(model.network, c.pruning.ratio, rounding=c.pruning.rounding)
        model = self._train(model, c.recovery, place, identity, "the pruned model")
        save_pruned(place, model.network, plan)
        self._forget(place)
        return model

    def _train(
        self,
        model: Diffusion,
        training: TrainingConfig,
        place: Path,
        identity: Mapping[str, Any],
        label: str,
    ) -> Diffusion:
        if not training.steps:
            return model
        require_training(self.train, label)
        self.study.work.mkdir(parents=True, exist_ok=True)
        labels = self.contributors.labels.to(self.device)
        seed = derive_seed(self.config.study.seed, "credit", place.name)
        task = DiffusionTask(model, self.latents, labels, training, seed=seed)
        saved = Checkpoints(
            path=place.with_name(f"{place.name}.checkpoint"),
            every=CHECKPOINT_EVERY,
            identity=identity,
        )
        run(task, training.steps, label=f"training {label}", checkpoints=saved, track=self.track)
        return task.finish()

    def _forget(self, place: Path) -> None:
        shutil.rmtree(place.with_name(f"{place.name}.checkpoint"), ignore_errors=True)

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
        told = {"sample_size": side, "in_channels": channels, "out_channels": channels}
        if m.conditional:
            told["num_class_embeds"] = int(self.contributors.labels.max()) + 1
        if m.paper:
            return {**PAPER, **told}
        attended = [m.attention and level == m.levels - 2 for level in range(m.levels)]
        return {
            "num_class_embeds": None,
            **told,
            "layers_per_block": m.blocks,
            "block_out_channels": [m.width * min(2**level, 4) for level in range(m.levels)],
            "down_block_types": [f"{'Attn' * a}DownBlock2D" for a in attended],
            "up_block_types": [f"{'Attn' * a}UpBlock2D" for a in reversed(attended)],
            "norm_num_groups": m.groups,
            "attention_head_dim": None,
            "add_attention": m.attention,
        }


def _load(place: Path, identity: Mapping[str, Any]) -> dict[str, Tensor]:
    meta, tensors = load_artifact(place, kind=KIND, schema=SCHEMA)
    changed = [k for k in identity if meta["identity"].get(k) != _plain(identity[k])]
    if changed:
        raise InputError(
            f"{place} was trained with other settings ({', '.join(changed)}); undo the change, or "
            "give [study] another work folder"
        )
    return tensors


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
