"""Structured magnitude pruning: whole channels are cut, and a smaller network remains.

Han et al.: Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015, in
the structured form of the paper, Section 3.2: each group of channels loses the same share.

Deviation: the paper's own pruner divides squares of weights by a mean per group of layers; here a
channel's importance is the sum of squares of all weights that go with it.  The widths, and so the
numbers of parameters, are the same.

A pruned network fits no config of its class.  It is saved as the config of the full one, the kept
channels of each layer (the width plan) and the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.components.libraries import need
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.store import load_artifact, save_artifact
from wherefrom.credit.diffusion.channels import Group, channel_groups

KIND, SCHEMA = "credit/pruned-unet", 1
ROUNDINGS = ("keep-more", "keep-less")
Kept = dict[str, dict[str, list[int]]]


@dataclass(frozen=True)
class WidthPlan:
    """`kept[layer][side]` is the sorted list of channels that stay, for each side that is cut."""

    config: Mapping[str, Any]
    kept: Kept


def plan_widths(unet: nn.Module, ratio: float, *, rounding: str = "keep-more") -> WidthPlan:
    """Which channels of a UNet2DModel stay if each group loses the share `ratio`, in [0, 1).

    Group normalisation allows only multiples of its groups: `keep-more` rounds the number of cut
    channels down, as the paper's numbers of parameters need, `keep-less` the number of kept ones.
    Ties, as on the meta device where nothing has a value, keep the first channels.
    """
    if not 0 <= ratio < 1:
        raise InputError(f"the pruning ratio is {ratio}; give at least 0 and less than 1")
    if rounding not in ROUNDINGS:
        raise InputError(f"the rounding is {rounding!r}; choose one of {', '.join(ROUNDINGS)}")
    layers = dict(unet.named_modules())
    kept: Kept = {}
    for group in channel_groups(unet):
        _note(kept, layers, group, _chosen(layers, group, ratio, rounding))
    sorted_out = {layer: {s: sorted(c) for s, c in sides.items()} for layer, sides in kept.items()}
    config = dict(unet.config)  # type: ignore[arg-type]
    config.pop("_name_or_path", None)  # where it was loaded from: no setting, and no JSON
    return WidthPlan(config, sorted_out)


def apply_plan(unet: nn.Module, plan: WidthPlan) -> nn.Module:
    """Cut `unet`, a network of `plan.config`, in place; it is returned.

    `InputError` if the plan names a layer or channel that is not there.
    """
    layers: dict[str, Any] = dict(unet.named_modules())
    for name, sides in plan.kept.items():
        if name not in layers:
            raise InputError(f"the width plan names the layer {name!r}, which is not there")
        for side, channels in sides.items():
            _cut(layers[name], name, side, channels)
    for sampler in layers.values():
        if isinstance(convolution := getattr(sampler, "conv", None), nn.Conv2d):
            # diffusers compares what comes in with these numbers.
            sampler.channels, sampler.out_channels = (
                convolution.in_channels,
                convolution.out_channels,
            )
    return unet


def prune(unet: nn.Module, ratio: float, *, rounding: str = "keep-more") -> WidthPlan:
    """`plan_widths` and `apply_plan` in one; `unet` is smaller afterwards."""
    plan = plan_widths(unet, ratio, rounding=rounding)
    apply_plan(unet, plan)
    return plan


def save_pruned(target: Path, unet: nn.Module, plan: WidthPlan, *, overwrite: bool = False) -> None:
    """Write a pruned network as width plan and safetensors."""
    meta = {"config": json.loads(json.dumps(dict(plan.config))), "kept": plan.kept}
    save_artifact(
        target,
        kind=KIND,
        schema=SCHEMA,
        meta=meta,
        tensors=unet.state_dict(),
        overwrite=overwrite,
    )


def load_pruned(source: Path) -> tuple[nn.Module, WidthPlan]:
    """The network that `save_pruned` wrote; `ArtifactError` if anything is off."""
    meta, tensors = load_artifact(source, kind=KIND, schema=SCHEMA)
    try:
        plan = WidthPlan(meta["config"], meta["kept"])
        unet = apply_plan(empty_unet(plan.config), plan)
        unet.load_state_dict(tensors, assign=True)
    except (InputError, KeyError, RuntimeError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ArtifactError(f"{source} is no whole pruned network: {first}") from error
    return unet, plan


def empty_unet(config: Mapping[str, Any]) -> nn.Module:
    """A UNet2DModel of a config on the meta device: shapes, no values."""
    unet2d = need("diffusers", "pruning").UNet2DModel
    with torch.device("meta"):
        unet: nn.Module = unet2d.from_config(dict(config))
    return unet


def count_parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())


def _chosen(
    layers: Mapping[str, nn.Module], group: Group, ratio: float, rounding: str
) -> list[int]:
    """Channels of a group that stay: of each head the same number, those of largest importance."""
    size = group.size // group.heads
    quantum = group.quantum
    stay = int(size * (1 - ratio))
    if rounding == "keep-more":
        stay = size - (size - stay) // quantum * quantum
    else:
        stay = stay // quantum * quantum
    stay = max(stay, quantum)
    parts = _importance(layers, group).view(group.heads, size)
    order = parts.argsort(dim=1, descending=True, stable=True)[:, :stay].sort(dim=1).values
    starts = torch.arange(group.heads)[:, None] * size
    kept: list[int] = (order + starts).flatten().tolist()
    return kept


def _importance(layers: Mapping[str, nn.Module], group: Group) -> Tensor:
    """Sum of squares of all weights that go with each channel, float64 (size,)."""
    total = torch.zeros(group.size, dtype=torch.float64)
    for name, side, offset in group.members:
        weight: Tensor = layers[name].weight.detach()  # type: ignore[operator]
        if weight.is_meta or side == "norm":
            continue
        axis = 0 if side == "out" else 1
        part = weight.narrow(axis, offset, group.size).double().transpose(0, axis)
        total += part.flatten(1).square().sum(1).cpu()
    return total


def _note(kept: Kept, layers: Mapping[str, Any], group: Group, channels: list[int]) -> None:
    """Add a group's channels to each of its layers, at the group's place in that layer."""
    for name, side, offset in group.members:
        sides = kept.setdefault(name, {})
        whole = sides.setdefault(side, _whole(layers[name], side))
        inside = {offset + c for c in range(group.size)} - {offset + c for c in channels}
        sides[side] = [c for c in whole if c not in inside]


def _whole(layer: Any, side: str) -> list[int]:
    return list(range(layer.weight.shape[1 if side == "in" else 0]))


def _cut(layer: Any, name: str, side: str, channels: list[int]) -> None:
    axis = 1 if side == "in" else 0
    if not channels or not 0 <= min(channels) <= max(channels) < layer.weight.shape[axis]:
        raise InputError(f"the width plan does not fit the layer {name!r}")
    index = torch.tensor(channels, device=layer.weight.device)
    layer.weight = nn.Parameter(layer.weight.detach().index_select(axis, index))
    if axis == 0 and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach().index_select(0, index))
    width = {
        (nn.Conv2d, "in"): "in_channels",
        (nn.Conv2d, "out"): "out_channels",
        (nn.Linear, "in"): "in_features",
        (nn.Linear, "out"): "out_features",
        (nn.GroupNorm, "norm"): "num_channels",
        (nn.Embedding, "in"): "embedding_dim",
    }
    kind = next(kind for kind, one_side in width if isinstance(layer, kind) and one_side == side)
    setattr(layer, width[kind, side], len(channels))
