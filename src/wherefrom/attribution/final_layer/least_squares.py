"""Activations that give a pre-activation, by conjugate gradients on the least-squares problem.

Hestenes and Stiefel: Methods of Conjugate Gradients for Solving Linear Systems, 1952.

Symbols:
    z    input of the last layer, (N, *input_shape)
    o    its output without the bias, G z, (N, *output_shape)
"""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.generators.last_layer.layer import LastLayer


def least_squares(layer: LastLayer, o: Tensor, *, steps: int) -> Tensor:
    """z (N, *input_shape) after `steps` of conjugate gradients on ||G z - o||^2, from z = 0.

    An item stops by itself where its gradient has fallen to rounding errors.
    """
    z = o.new_zeros(len(o), *layer.input_shape)
    residual, gradient = o, layer.adjoint(o)
    direction, size = gradient, _squares(gradient)
    smallest = size * torch.finfo(o.dtype).eps
    for _ in range(steps):
        image = layer.linear(direction)
        step = torch.where(size > smallest, size / _squares(image), 0.0)
        z = z + _each(step, z) * direction
        residual = residual - _each(step, o) * image
        gradient = layer.adjoint(residual)
        before, size = size, _squares(gradient)
        ratio = torch.where(before > smallest, size / before, 0.0)
        direction = gradient + _each(ratio, z) * direction
    return z


def _squares(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(dim=1)


def _each(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))
