"""Structured magnitude pruning: whole channels of a network are cut.

Han et al.: Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015, in
the structured form of the paper, Section 3.2: each group of channels loses the same share.

Deviation: the paper's own pruner divides squares of weights by a mean per group of layers; here a
channel's importance is the sum of squares of all weights that go with it.  The widths, and so the
numbers of parameters, are the same.

No config of its class describes a pruned network.  It is saved as the config of the full one, the
remaining channels of each layer (the width plan) and the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.credit.diffusion.channels import Group, channel_groups

ROUNDINGS = ("keep-more", "keep-less")
Channels = dict[str, dict[str, list[int]]]  # by layer and side


@dataclass(frozen=True)
class WidthPlan:
    """The channels that remain in each layer of a network of the settings `config`.

    `channels[layer][side]` is a sorted list, for each side that is cut.
    """

    config: Mapping[str, Any]
    channels: Channels


def plan_widths(unet: nn.Module, ratio: float, *, rounding: str = "keep-more") -> WidthPlan:
    """The channels of a UNet2DModel that remain if each group loses the share `ratio`, in [0, 1).

    Group normalisation allows only multiples of its groups: `keep-more` rounds the number of cut
    channels down, as the paper's numbers of parameters need, `keep-less` the number that remain.
    Of tied channels, as on the meta device without values, the first remain.
    """
    if not 0 <= ratio < 1:
        raise InputError(f"the pruning ratio is {ratio}; give at least 0 and less than 1")
    if rounding not in ROUNDINGS:
        raise InputError(f"the rounding is {rounding!r}; choose one of {', '.join(ROUNDINGS)}")
    layers = dict(unet.named_modules())
    channels: Channels = {}
    for group in channel_groups(unet):
        _add_group(channels, layers, group, _chosen(layers, group, ratio, rounding))
    in_order = {name: {s: sorted(c) for s, c in sides.items()} for name, sides in channels.items()}
    config = dict(unet.config)  # type: ignore[arg-type]
    config.pop("_name_or_path", None)  # where it was loaded from: no setting, and no JSON
    return WidthPlan(config, in_order)


def apply_plan(unet: nn.Module, plan: WidthPlan) -> nn.Module:
    """Cut `unet`, a network of `plan.config`, in place, and return it.

    `InputError` if the plan names a layer or channel that the network does not have.
    """
    layers: dict[str, Any] = dict(unet.named_modules())
    for name, sides in plan.channels.items():
        if name not in layers:
            raise InputError(
                f"the width plan names the layer {name!r}, which the network does not have"
            )
        for side, channels in sides.items():
            _cut(layers[name], name, side, channels)
    for sampler in layers.values():
        if isinstance(convolution := getattr(sampler, "conv", None), nn.Conv2d):
            # diffusers compares the channels of its input with these numbers.
            sampler.channels, sampler.out_channels = (
                convolution.in_channels,
                convolution.out_channels,
            )
    return unet


def prune(unet: nn.Module, ratio: float, *, rounding: str = "keep-more") -> WidthPlan:
    """Prune `unet` in place: `plan_widths`, then `apply_plan`."""
    plan = plan_widths(unet, ratio, rounding=rounding)
    apply_plan(unet, plan)
    return plan


@dataclass(frozen=True, eq=False)
class PrunedNetwork(Artifact):
    """A pruned UNet2DModel, saved as width plan and weights."""

    kind: ClassVar[str] = "credit/pruned-unet"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "delete it, and the next run of the study prunes again"

    network: nn.Module
    plan: WidthPlan

    def to_saved(self) -> Saved:
        meta = {
            "config": json.loads(json.dumps(dict(self.plan.config))),
            "kept": self.plan.channels,
        }
        return Saved(meta, self.network.state_dict())

    @classmethod
    def from_saved(cls, saved: Saved) -> PrunedNetwork:
        plan = WidthPlan(saved.meta["config"], saved.meta["kept"])
        try:
            network = apply_plan(empty_unet(plan.config), plan)
        except InputError as error:
            raise ValueError(str(error)) from error
        network.load_state_dict(saved.tensors, assign=True)
        return cls(network, plan)


def empty_unet(config: Mapping[str, Any]) -> nn.Module:
    """A UNet2DModel of a config on the meta device: shapes, no values."""
    unet2d = need("diffusers", "pruning", extra="diffusers").UNet2DModel
    with torch.device("meta"):
        unet: nn.Module = unet2d.from_config(dict(config))
    return unet


def count_parameters(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in module.parameters())


def _chosen(
    layers: Mapping[str, nn.Module], group: Group, ratio: float, rounding: str
) -> list[int]:
    """Channels of a group that remain: the same number of each head, of largest importance."""
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
    remaining: list[int] = (order + starts).flatten().tolist()
    return remaining


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


def _add_group(
    channels: Channels, layers: Mapping[str, Any], group: Group, remaining: list[int]
) -> None:
    """Cut all but the remaining channels of a group from each of its layers in `channels`."""
    for name, side, offset in group.members:
        sides = channels.setdefault(name, {})
        before = sides.setdefault(side, _whole(layers[name], side))
        cut = {offset + c for c in range(group.size)} - {offset + c for c in remaining}
        sides[side] = [c for c in before if c not in cut]


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
    kind = next(kind for kind, end in width if isinstance(layer, kind) and end == side)
    setattr(layer, width[kind, side], len(channels))
