"""Stable Diffusion fine-tuned by LoRA in the game: only the added matrices are trained.

Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.  Each attention projection
W gets B A beside it, A (r, in) random and B (out, r) zero at first, so an untrained model is the
base model.  Sparsified: pairs of a row of A and a column of B are cut, those of least weight first.

One network serves all runs of a worker: a run begins by putting its matrices in.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.components.libraries import need
from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.store import digest_tensors, load_artifact, save_artifact
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.codecs import load_autoencoder_codec
from wherefrom.credit.diffusion.model import Diffusion, DiffusionTask, TrainingConfig
from wherefrom.credit.diffusion.text_to_image import load_base
from wherefrom.credit.ledger.records import digest_json
from wherefrom.credit.study.file import Study
from wherefrom.credit.study.models import (
    Models,
    require_conditions,
    require_decoding,
    require_training,
)
from wherefrom.data.writing import float_parts
from wherefrom.training.loop import Checkpoints, run

KIND, SCHEMA = "credit/lora", 1
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
CHECKPOINT_EVERY = 500
Pairs = list[tuple[str, nn.Linear, nn.Linear]]


def make_lora_models(
    study: Study,
    data: Contributors,
    *,
    device: str = "cpu",
    train: bool = True,
    track: Track = quiet,
) -> Models:
    """What a LoRA game begins with.  `[model] folder` is a Stable Diffusion pipeline's."""
    c = study.config
    model, latents, conditions, base = _untrained(study, data, device)
    spec: dict[str, Any] = {
        "base": base,
        "codec": model.codec.identity,
        "rank": c.model.rank,
        "schedule": model.schedule.to_dict(),
    }

    def blank(seed: int) -> Diffusion:
        put_matrices(model.network, initial_matrices(model.network, seed))
        return model

    maker, base_model = _Maker(study, data, latents, conditions, track, train), model

    def whole(asked: Track) -> Diffusion:
        maker.track, maker.allowed = asked, True
        trained = maker.train(blank(c.study.seed), c.training, "full", spec_of_full)
        put_matrices(base_model.network, trained)
        return base_model

    spec_of_full = dict(spec)
    if c.game.kind == "retrain":
        return Models(blank, blank, None, latents, spec, conditions, whole)
    full = maker.train(blank(c.study.seed), c.training, "full", spec_of_full)
    if c.game.kind == "sparsified":
        model = replace(model, network=copy.deepcopy(model.network))
        put_matrices(model.network, full)
        prune_ranks(model.network, c.pruning.ratio)
        recipe = {**spec, "full": digest_tensors(full), "pruning": c.pruning.to_dict()}
        start_from = maker.train(model, c.recovery, "pruned", recipe)
    else:
        start_from = full
    spec["start"] = digest_tensors(start_from)

    def start(_seed: int) -> Diffusion:
        put_matrices(model.network, start_from)
        return model

    put_matrices(base_model.network, full)
    return Models(start, blank, base_model, latents, spec, conditions, whole)


def untrained_lora(study: Study, data: Contributors, *, device: str = "cpu") -> Diffusion:
    """The base model with its untrained matrices, to be timed."""
    return _untrained(study, data, device)[0]


def _untrained(
    study: Study, data: Contributors, device: str
) -> tuple[Diffusion, Tensor, Tensor, str]:
    """The base model with matrices, the latents and conditions of all images, the base's digest."""
    folder = study.place(study.config.model.folder)
    prompts, conditions = _prompts(study, data)
    require_conditions(study, len(prompts))
    model = load_base(folder, prompts, side=data.images.shape[-1], device=device)
    texts = {"prompts": model.prompts, **(model.added or {})}
    # Before there are matrices: peft fills them from a generator that no two processes share.
    base = digest_tensors(model.network.state_dict() | texts)
    add_lora(model.network, study.config.model.rank)
    codec = load_autoencoder_codec(folder, grey=data.images.shape[1] == 1)
    if codec.autoencoder.channels != model.shape[0]:
        raise InputError(
            f"the network in {show_path(folder)} takes {model.shape[0]} channels, and its "
            f"autoencoder gives {codec.autoencoder.channels}; models that are also given a picture "
            "or a mask are not fine-tuned here"
        )
    model = replace(model, codec=codec.to(device))
    parts = (part.to(device) for part in float_parts(data.images))
    latents = torch.cat([model.codec.encode(part) for part in parts])
    require_decoding(model.codec, latents, data.images.shape[-1])
    return replace(model, shape=(*latents.shape[1:],)), latents, conditions, base


def add_lora(network: nn.Module, rank: int) -> None:
    """Add matrices of this rank to every attention projection; they alone are trained."""
    peft = need("peft", "LoRA", extra="credit")
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS))
    with torch.random.fork_rng(devices=[]):  # peft fills them from the global generator
        network.add_adapter(config)  # type: ignore[operator]


def lora_pairs(network: nn.Module) -> Pairs:
    """(name, A, B) of every layer that has them, in order."""
    return [
        (name, layer.lora_A["default"], layer.lora_B["default"])
        for name, layer in network.named_modules()
        if hasattr(layer, "lora_A") and "default" in layer.lora_A
    ]


def initial_matrices(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """A normal with deviation 1 / r, B zero."""
    found = {}
    for name, a, b in lora_pairs(network):
        rng = stream(seed, "credit", "lora", name)
        noise = torch.randn(a.weight.shape, generator=rng) / a.weight.shape[0]
        found[f"{name}.A"], found[f"{name}.B"] = noise, torch.zeros(b.weight.shape)
    return found


def matrices(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the added matrices, by name."""
    found = {}
    for name, a, b in lora_pairs(network):
        found[f"{name}.A"] = a.weight.detach().cpu().clone()
        found[f"{name}.B"] = b.weight.detach().cpu().clone()
    return found


def put_matrices(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put added matrices in, of whatever ranks."""
    for name, a, b in lora_pairs(network):
        for layer, key in ((a, f"{name}.A"), (b, f"{name}.B")):
            value = values[key].to(layer.weight.device)
            if value.shape == layer.weight.shape:
                with torch.no_grad():
                    layer.weight.copy_(value)
            else:
                layer.weight = nn.Parameter(value.clone())
        a.out_features = b.in_features = a.weight.shape[0]


def prune_ranks(network: nn.Module, ratio: float) -> None:
    """Cut pairs of a row of A and a column of B until the share `ratio` of parameters is gone.

    Those with the smallest |row|^2 |column|^2, the size of their part of B A, go first, over all
    layers; one pair stays in each.

    Deviation: the authors' code scores rows and columns by the sums of their own squares and may
    empty a layer; a pair whose column is zero adds nothing however large its row is.
    """
    pairs = lora_pairs(network)
    total = sum(a.weight.numel() + b.weight.numel() for _, a, b in pairs)
    scored = []
    for index, (_, a, b) in enumerate(pairs):
        scores = a.weight.detach().square().sum(1) * b.weight.detach().square().sum(0)
        scored += [(float(score), index, rank) for rank, score in enumerate(scores)]
    kept = [set(range(a.weight.shape[0])) for _, a, _ in pairs]
    gone = 0
    for _, index, rank in sorted(scored):
        _, a, b = pairs[index]
        size = a.weight.shape[1] + b.weight.shape[0]
        if gone + size > ratio * total:
            break
        if len(kept[index]) > 1:
            kept[index].discard(rank)
            gone += size
    values = {}
    for (name, a, b), ranks in zip(pairs, kept, strict=True):
        index_of = torch.tensor(sorted(ranks), device=a.weight.device)
        values[f"{name}.A"] = a.weight.detach()[index_of]
        values[f"{name}.B"] = b.weight.detach()[:, index_of]
    put_matrices(network, values)


def _prompts(study: Study, data: Contributors) -> tuple[list[str], Tensor]:
    """The different prompts, and the number of each image's."""
    default = study.config.model.prompt
    given = [prompt or default for prompt in data.prompts] or [default] * len(data.owner)
    if not all(given):
        raise InputError("an image has no prompt; give [model] a prompt, or the map a column")
    unique = sorted(set(given))
    return unique, torch.tensor([unique.index(prompt) for prompt in given])


class _Maker:
    """Trains matrices once, in the work folder."""

    def __init__(
        self,
        study: Study,
        data: Contributors,
        latents: Tensor,
        conditions: Tensor,
        track: Track,
        allowed: bool,
    ) -> None:
        self.study, self.data, self.track, self.allowed = study, data, track, allowed
        self.latents, self.conditions = latents, conditions.to(latents.device)

    def train(
        self, model: Diffusion, config: TrainingConfig, name: str, spec: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """The matrices after training on all data."""
        identity = {
            **spec,
            "data": digest_tensors({"latents": self.latents, "conditions": self.conditions}),
            "training": config.to_dict(),
            "seed": self.study.config.study.seed,
        }
        place = self.study.work / f"{name}-lora-{digest_json(identity)[:16]}"
        if os.path.lexists(place):
            return load_artifact(place, kind=KIND, schema=SCHEMA)[1]
        require_training(self.allowed or not config.steps, f"the {name} model")
        self.study.work.mkdir(parents=True, exist_ok=True)
        if config.steps:
            seed = self.study.config.study.seed
            task = DiffusionTask(model, self.latents, self.conditions, config, seed=seed)
            saved = _TrainedOnly(task)
            path = place.with_name(f"{place.name}.checkpoint")
            checkpoints = Checkpoints(path=path, every=CHECKPOINT_EVERY, identity=identity)
            run(
                saved,
                config.steps,
                label=f"training the {name} model",
                checkpoints=checkpoints,
                track=self.track,
            )
            task.finish()
        found = matrices(model.network)
        save_artifact(place, kind=KIND, schema=SCHEMA, meta={"identity": identity}, tensors=found)
        shutil.rmtree(place.with_name(f"{place.name}.checkpoint"), ignore_errors=True)
        return found


class _TrainedOnly:
    """A task whose checkpoints hold what is trained, and not the base model."""

    def __init__(self, task: DiffusionTask) -> None:
        self.task = task
        self.parts = nn.ParameterList(task.model.trained())
        self.step: Callable[[int], dict[str, float]] = task.step

    def modules(self) -> Mapping[str, nn.Module]:
        """The matrices and their average."""
        return {"matrices": self.parts, "average": self.task.average}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam's state."""
        return self.task.optimizers()
