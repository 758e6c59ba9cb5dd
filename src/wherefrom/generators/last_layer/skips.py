"""A skip connection into the last layer, as a part of that layer.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024, App. F, which proposes it and leaves it open:

    x = sigma(G_L z + s + b) = sigma(G' (z, s') + b),    G' = [G_L  a I],    s' = s / a

G' is a dense layer or a convolution as G_L is, so that whatever works on a last layer works on it.
The l1 term weighs |s'| as it weighs |z|: an entry of s costs lam / a.

Deviation: App. F leaves the weight of each group open.  a is the mean length of a column of G_L, so
that z and s reach the image equally far at equal cost.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.generators.last_layer.layer import LastLayer


@dataclass(frozen=True)
class Skip:
    """Where s is met in a run of the generator, and how it enters G'."""

    sum_index: int  # which addition of the run
    place: int  # which of its two operands
    inputs: int  # channels, or entries, of s: the last ones of G'
    length: float  # a

    def joined(self, z: Tensor, s: Tensor) -> Tensor:
        """(z, s / a) as one activation of G'; z and s with the same axes, channels or entries 1."""
        return torch.cat([z, s / self.length], dim=1)


def with_skip(layer: LastLayer, place: tuple[int, int]) -> tuple[LastLayer, Skip]:
    """G' of a layer that `takes_skip`; `place`: number of the addition, operand of s."""
    weight = layer.weight
    columns = weight.movedim(1, 0).flatten(1).norm(dim=1)
    length = float(columns.mean()) or 1.0  # a layer of zeros: s alone makes the image
    outputs = layer.output_shape[0 if layer.kind == "conv" else -1]
    kernel = weight.shape[2:]
    identity = weight.new_zeros(outputs, outputs, math.prod(kernel))  # one entry if dense
    identity[:, :, identity.shape[2] // 2] = length * torch.eye(outputs).to(weight)
    identity = identity.reshape(outputs, outputs, *kernel)  # in the middle of an odd kernel
    shape = list(layer.input_shape)
    shape[0 if layer.kind == "conv" else -1] += outputs
    extended = dataclasses.replace(
        layer, weight=torch.cat([weight, identity], dim=1), input_shape=tuple(shape)
    )
    return extended, Skip(*place, inputs=outputs, length=length)


def takes_skip(layer: LastLayer) -> bool:
    """Whether [G_L I] is a layer again: dense on vectors, or a convolution that keeps the size."""
    if layer.kind == "dense":
        return len(layer.input_shape) == 1
    return (
        layer.kind == "conv"
        and layer.groups == 1
        and all(size % 2 == 1 for size in layer.weight.shape[2:])
        and layer.input_shape[1:] == layer.output_shape[1:]
    )
