"""Makes a `LastLayer` of one linear operation that was watched in two batches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.last_layer.output_steps import FIRST_BATCH, SECOND_BATCH, scaled_shape
from wherefrom.generators.last_layer.tracing import LINEAR_OPS, LinearCall, Node, linear_name


def build_last_layer(
    nodes: tuple[Node, Node], calls: tuple[LinearCall, LinearCall], extra_bias: Tensor | None = None
) -> tuple[LastLayer, tuple[int, ...]]:
    """The layer, and the shape in which the operation itself returned its output.

    `extra_bias` (out,) is added to the layer's own.
    """
    name = linear_name(nodes[0])
    inputs = scaled_shape(calls[0].activation.shape, calls[1].activation.shape)
    raw_shape = scaled_shape(nodes[0].shape, nodes[1].shape)
    if nodes[0].op == "convolution":
        weight, bias = (_constant(calls, place, name) for place in (1, 2))
        if weight is None or inputs[0] != -1:
            raise InputError(_per_sample(name))
        layer = _convolution(calls[0].args, weight, bias, (inputs[1:], raw_shape[1:]))
    else:
        layer = _dense(nodes[0], calls, (inputs, raw_shape))
    if extra_bias is not None:
        own = 0 if layer.bias is None else layer.bias
        layer = dataclasses.replace(layer, bias=own + extra_bias)
    for key, value in layer.to_tensors().items():
        if not torch.isfinite(value).all():
            raise InputError(f"the {key} of {name} contains NaN or infinity")
    return layer, raw_shape


def _convolution(
    args: tuple[Any, ...], weight: Tensor, bias: Tensor | None, shapes: tuple[tuple[int, ...], ...]
) -> LastLayer:
    _, _, _, stride, padding, dilation, transposed, output_padding, groups = args[:9]
    axes = weight.ndim - 2
    stride, padding, dilation, output_padding = (
        tuple(value) * (axes if len(value) == 1 else 1)
        for value in (stride, padding, dilation, output_padding)
    )
    return LastLayer(
        kind="conv_transpose" if transposed else "conv",
        weight=weight,
        bias=bias,
        input_shape=shapes[0],
        output_shape=shapes[1],
        stride=stride,
        padding=padding,
        dilation=dilation,
        output_padding=output_padding,
        groups=groups,
    )


def _dense(
    node: Node, calls: tuple[LinearCall, LinearCall], shapes: tuple[tuple[int, ...], ...]
) -> LastLayer:
    name, own = linear_name(node), LINEAR_OPS[node.op]
    operands = node.operands()
    if operands[own + 1].varies and not operands[own].varies:
        raise InputError(
            f"the activation is the right-hand factor of the last matrix product {name}; "
            "write it as activation @ weight"
        )
    weight = _constant(calls, own + 1, name)
    rows = -math.prod(shapes[0][:-1])
    if weight is None or rows <= 0 or not (weight.ndim == 2 or bool((weight == weight[:1]).all())):
        raise InputError(_per_sample(name))
    weight = weight.reshape(-1, *weight.shape[-2:])[0].T.contiguous()
    alpha, beta = (float(node.args.get(key, 1)) for key in ("alpha", "beta"))
    bias = _constant(calls, 0, name) if own == 1 else None
    if bias is not None and bias.numel() not in (1, len(weight)):
        raise InputError(
            f"a constant tensor of shape {tuple(bias.shape)} is added after the last linear layer "
            f"{name}; fold it into the layer's bias"
        )
    many = () if rows == 1 else (rows,)
    return LastLayer(
        kind="dense",
        weight=alpha * weight,
        bias=None if bias is None else (beta * bias.reshape(-1)).expand(len(weight)).clone(),
        input_shape=(*many, weight.shape[1]),
        output_shape=(*many, weight.shape[0]),
    )


def _constant(calls: tuple[LinearCall, LinearCall], place: int, name: str) -> Tensor | None:
    """Argument `place` as a float32 tensor of our own, after checking that no latent changes it."""
    first, second = (call.args[place] for call in calls)
    if first is None:
        return None
    # A matrix product over the batch repeats one weight per image: compare and keep the first.
    if first.ndim == 3 and len(first) == FIRST_BATCH and len(second) == SECOND_BATCH:
        second = second[:FIRST_BATCH]
    if first.shape != second.shape or not torch.allclose(first, second, rtol=1e-5, equal_nan=True):
        raise InputError(_per_sample(name))
    own: Tensor = first.detach().float().clone()
    return own


def _per_sample(name: str) -> str:
    return (
        f"the weight of the last linear layer {name} is computed per sample (modulated or "
        "style-based); such a layer is not one linear map and cannot be inverted"
    )
