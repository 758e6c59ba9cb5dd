"""Layers, their dense matrices, and a small attributor that is fitted once."""

import numpy as np
import pytest
import torch
from torch import nn

from wherefrom.generators.last_layer import LastLayer


def _layer_of(module, input_shape):
    out = module(torch.zeros(1, *input_shape, dtype=module.weight.dtype))
    shapes = {"input_shape": input_shape, "output_shape": tuple(out.shape[1:])}
    bias = None if module.bias is None else module.bias.detach()
    if isinstance(module, nn.Linear):
        return LastLayer(kind="dense", weight=module.weight.detach(), bias=bias, **shapes)
    return LastLayer(
        kind="conv_transpose" if module.transposed else "conv",
        weight=module.weight.detach(),
        bias=bias,
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        output_padding=module.output_padding,
        groups=module.groups,
        **shapes,
    )


def _matrix_of(layer):
    size = int(np.prod(layer.input_shape))
    units = torch.eye(size, dtype=torch.float64).reshape(size, *layer.input_shape)
    wide = layer.to(dtype=torch.float64)
    columns = [wide.linear(unit[None]).flatten() for unit in units]
    return torch.stack(columns, dim=1).numpy()


@pytest.fixture(scope="session")
def layer_of():
    """(torch.nn module, input shape) -> `LastLayer` with the module's own tensors."""
    return _layer_of


@pytest.fixture(scope="session")
def matrix_of():
    """`LastLayer` -> its matrix (D_out, D_in) in float64, built column by column."""
    return _matrix_of
