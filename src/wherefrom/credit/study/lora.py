"""Stable Diffusion fine-tuned by LoRA: only the added matrices are trained.

Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.  Each attention projection
W becomes W + B A with A (r, in), random, and B (out, r), zero, so an untrained model is the base
model.  Sparsified: pairs of a row of A and a column of B are cut, those of least weight first.

All runs of a worker share one network; a run begins by putting its matrices in.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.saving.json_text import digest_json
from wherefrom.core.saving.store import digest_tensors
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.diffusion.codecs import load_autoencoder_codec
from wherefrom.credit.diffusion.model import Diffusion, DiffusionTask
from wherefrom.credit.diffusion.text_to_image import load_base
from wherefrom.credit.study.diffusion_run import checkpoints_beside
from wherefrom.credit.study.file import Study
from wherefrom.credit.study.models import (
    CHECKPOINT_EVERY,
    Models,
    TrainedWeights,
    require_conditions,
    require_decoding,
    require_training,
)
from wherefrom.data.images.writing import float_parts
from wherefrom.training.loop import run

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
Pairs = list[tuple[str, nn.Linear, nn.Linear]]


def make_lora_models(
    study: Study,
    data: Contributors,
    *,
    device: str = "cpu",
    train: bool = True,
    track: Track = quiet,
) -> Models:
    """`make_models` of a LoRA game; `[model] folder` is a Stable Diffusion pipeline's."""
    c = study.config
    model, latents, conditions, base = untrained_lora(study, data, device=device)
    spec: dict[str, Any] = {
        "base": base,
        "codec": model.codec.identity,
        "rank": c.model.rank,
        "schedule": model.schedule.to_dict(),
    }

    def blank(seed: int) -> Diffusion:
        put_matrices(model.network, initial_matrices(model.network, seed))
        return model

    base_model, spec_of_full = model, {**spec}
    trained = partial(_trained_matrices, study, latents, conditions.to(latents.device))

    def full_matrices(*, train: bool, track: Track) -> Mapping[str, Tensor]:
        untrained = blank(c.study.seed)
        return trained(untrained, "full", spec_of_full, allowed=train, track=track)

    def whole(track: Track) -> Diffusion:
        put_matrices(base_model.network, full_matrices(train=True, track=track))
        return base_model

    if c.game.kind == "retrain":
        return Models(blank, blank, None, latents, spec, conditions, whole)
    full = start_from = full_matrices(train=train, track=track)
    if c.game.kind == "sparsified":
        model = replace(model, network=copy.deepcopy(model.network))
        put_matrices(model.network, full)
        prune_ranks(model.network, c.pruning.ratio)
        recipe = {**spec, "full": digest_tensors(full), "pruning": c.pruning.to_dict()}
        start_from = trained(model, "pruned", recipe, allowed=train, track=track)
    spec["start"] = digest_tensors(start_from)

    def start(_seed: int) -> Diffusion:
        put_matrices(model.network, start_from)
        return model

    put_matrices(base_model.network, full)
    return Models(start, blank, base_model, latents, spec, conditions, whole)


def untrained_lora(
    study: Study, data: Contributors, *, device: str = "cpu"
) -> tuple[Diffusion, Tensor, Tensor, str]:
    """The base model with matrices, the latents and conditions of all images, the base's digest."""
    folder = study.place(study.config.model.folder)
    prompts, conditions = _prompts(study, data)
    require_conditions(study, len(prompts))
    model = load_base(folder, prompts, side=data.images.shape[-1], device=device)
    texts = {"prompts": model.prompts, **(model.added or {})}
    # Before matrices are added: peft fills them from a generator that differs between processes.
    base = digest_tensors(model.network.state_dict() | texts)
    add_lora(model.network, study.config.model.rank)
    codec = load_autoencoder_codec(folder, grey=data.images.shape[1] == 1)
    if codec.autoencoder.channels != model.shape[0]:
        raise InputError(
            f"the network in {show_path(folder)} takes {model.shape[0]} channels, and its "
            f"autoencoder gives {codec.autoencoder.channels}; models that also take a picture or a "
            "mask are not fine-tuned here"
        )
    model = replace(model, codec=codec.to(device))
    parts = (part.to(device) for part in float_parts(data.images))
    latents = torch.cat([model.codec.encode(part) for part in parts])
    require_decoding(model.codec, latents, data.images.shape[-1])
    return replace(model, shape=(*latents.shape[1:],)), latents, conditions, base


def add_lora(network: nn.Module, rank: int) -> None:
    """Add matrices of this rank to every attention projection; only they are trained."""
    peft = need("peft", "LoRA", extra="credit")
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS))
    with torch.random.fork_rng(devices=[]):  # peft fills them from the global generator
        network.add_adapter(config)  # type: ignore[operator]


def lora_pairs(network: nn.Module) -> Pairs:
    """(name, A, B) of every layer with added matrices, in order."""
    return [
        (name, layer.lora_A["default"], layer.lora_B["default"])
        for name, layer in network.named_modules()
        if hasattr(layer, "lora_A") and "default" in layer.lora_A
    ]


def initial_matrices(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Untrained matrices by name: A normal with standard deviation 1 / r, B zero."""
    values = {}
    for name, a, b in lora_pairs(network):
        rng = stream(seed, "credit", "lora", name)
        noise = torch.randn(a.weight.shape, generator=rng) / a.weight.shape[0]
        values[f"{name}.A"], values[f"{name}.B"] = noise, torch.zeros(b.weight.shape)
    return values


def matrices(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the added matrices, by name."""
    values = {}
    for name, a, b in lora_pairs(network):
        values[f"{name}.A"] = a.weight.detach().cpu().clone()
        values[f"{name}.B"] = b.weight.detach().cpu().clone()
    return values


def put_matrices(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set the added matrices of a network; their ranks may differ from those that are there."""
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

    Pairs with the smallest |row|^2 |column|^2, the size of their part of B A, are cut first, over
    all layers; at least one pair remains in each layer.

    Deviation: the authors' code scores rows and columns by the sums of their own squares and may
    empty a layer; a pair whose column is zero adds nothing however large its row is.
    """
    pairs = lora_pairs(network)
    total = sum(a.weight.numel() + b.weight.numel() for _, a, b in pairs)
    scored = []
    for index, (_, a, b) in enumerate(pairs):
        scores = a.weight.detach().square().sum(1) * b.weight.detach().square().sum(0)
        scored += [(float(score), index, rank) for rank, score in enumerate(scores)]
    remaining = [set(range(a.weight.shape[0])) for _, a, _ in pairs]
    gone = 0
    for _, index, rank in sorted(scored):
        _, a, b = pairs[index]
        size = a.weight.shape[1] + b.weight.shape[0]
        if gone + size > ratio * total:
            break
        if len(remaining[index]) > 1:
            remaining[index].discard(rank)
            gone += size
    values = {}
    for (name, a, b), ranks in zip(pairs, remaining, strict=True):
        index_of = torch.tensor(sorted(ranks), device=a.weight.device)
        values[f"{name}.A"] = a.weight.detach()[index_of]
        values[f"{name}.B"] = b.weight.detach()[:, index_of]
    put_matrices(network, values)


def _prompts(study: Study, data: Contributors) -> tuple[list[str], Tensor]:
    """The distinct prompts, and the index of each image's prompt."""
    default = study.config.model.prompt
    given = [prompt or default for prompt in data.prompts] or [default] * len(data.owner)
    if not all(given):
        raise InputError(
            "an image has no prompt; give [model] a prompt, or the table a column prompt"
        )
    unique = sorted(set(given))
    return unique, torch.tensor([unique.index(prompt) for prompt in given])


def _trained_matrices(
    study: Study,
    latents: Tensor,
    conditions: Tensor,
    model: Diffusion,
    name: str,
    spec: Mapping[str, Any],
    *,
    allowed: bool,
    track: Track,
) -> Mapping[str, Tensor]:
    """The matrices of the model `name`, full or pruned, trained on all data once and saved."""
    config = study.config
    training = config.training if name == "full" else config.recovery
    identity = {
        **spec,
        "data": digest_tensors({"latents": latents, "conditions": conditions}),
        "training": training.to_dict(),
        "seed": config.study.seed,
    }
    place = study.work / f"{name}-lora-{digest_json(identity)[:16]}"
    if os.path.lexists(place):
        return TrainedWeights.load(place).weights
    label = f"the {name} model"
    require_training(allowed or not training.steps, label)
    with checkpoints_beside(place, identity, every=CHECKPOINT_EVERY) as checkpoints:
        if training.steps:
            task = DiffusionTask(model, latents, conditions, training, seed=config.study.seed)
            run(
                _TrainedOnly(task),
                training.steps,
                label=f"training {label}",
                checkpoints=checkpoints,
                track=track,
            )
            task.finish()
        trained = matrices(model.network)
        TrainedWeights(identity, trained).save(place)
    return trained


class _TrainedOnly:
    """A task whose checkpoints hold the trained matrices without the base model."""

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
