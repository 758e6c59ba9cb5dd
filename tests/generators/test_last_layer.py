"""The linear layer as a value: agreement with torch.nn, exact adjoint, saving."""

import itertools
import json

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.generators.last_layer.layer import LastLayer

# float64: sums of at most ~1e3 products of numbers near 1.
TOLERANCE = 1e-11


def layer_of(module, input_shape):
    """A `LastLayer` with the module's own tensors."""
    out = module(torch.zeros(1, *input_shape, dtype=torch.float64))
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


def geometries():
    """Every legal combination of a small grid, with odd and even sizes, kernels and strides."""
    grid = itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2), (1, 2), (0, 1), (7, 8))
    for kernel, stride, padding, dilation, groups, extra, size in grid:
        plain = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if size + 2 * padding >= dilation * (kernel - 1) + 1:
            yield nn.Conv2d(4, 6, kernel, **plain), size
        if extra < max(stride, dilation):
            made = nn.ConvTranspose2d(4, 6, kernel, **plain, output_padding=extra)
            yield made, size


def others():
    """Layers of other dimensions, rectangular geometry, and dense ones."""
    yield nn.Conv1d(4, 6, 3, stride=2, padding=1), (4, 9)
    yield nn.ConvTranspose1d(4, 6, 4, stride=3, output_padding=2), (4, 5)
    yield nn.Conv3d(2, 3, (3, 2, 1), stride=(2, 1, 2)), (2, 5, 4, 3)
    yield nn.ConvTranspose3d(2, 4, 3, stride=2, padding=1, groups=2), (2, 3, 4, 5)
    yield nn.Conv2d(2, 3, (4, 1), stride=(3, 2), padding=(0, 1), bias=False), (2, 11, 6)
    yield nn.ConvTranspose2d(2, 3, (4, 3), stride=(2, 3), output_padding=(1, 2)), (2, 4, 5)
    yield nn.Linear(5, 7), (5,)
    yield nn.Linear(5, 7, bias=False), (5,)
    yield nn.Linear(5, 7), (6, 5)


def check(module, shape):
    module = module.double()
    layer = layer_of(module, shape)
    z = torch.randn(2, *shape, dtype=torch.float64)
    r = torch.randn(2, *layer.output_shape, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(layer.apply(z), module(z), atol=TOLERANCE)
    back = layer.adjoint(r)
    assert back.shape == z.shape
    difference = (layer.linear(z) * r).sum() - (z * back).sum()
    assert abs(float(difference)) < TOLERANCE * r.numel()


def test_every_2d_geometry_applies_like_torch_and_has_an_exact_adjoint__identity_adjoint():
    torch.manual_seed(0)
    count = 0
    for module, size in geometries():
        if min(module.double()(torch.zeros(1, 4, size, size).double()).shape) > 0:
            check(module, (4, size, size))
            count += 1
    assert count > 400


def test_other_dimensions_and_dense_layers_have_an_exact_adjoint__identity_adjoint():
    torch.manual_seed(0)
    for module, shape in others():
        check(module, shape)


def test_adjoint_is_the_gradient__reference_autograd():
    torch.manual_seed(0)
    module = nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False).double()
    layer = layer_of(module, (4, 5, 6))
    z = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    r = torch.randn(2, *layer.output_shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((layer.linear(z) * r).sum(), z)
    assert torch.allclose(layer.adjoint(r), gradient, atol=TOLERANCE)


@pytest.mark.parametrize("with_bias", [True, False])
def test_a_layer_survives_saving__roundtrip(with_bias):
    module = nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=with_bias).double()
    layer = layer_of(module, (4, 5, 6))
    again = LastLayer.from_saved(json.loads(json.dumps(layer.to_meta())), layer.to_tensors())
    z = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    assert torch.equal(again.apply(z), layer.apply(z))
    assert again.to_meta() == layer.to_meta()
    assert again.name == "ConvTranspose2d(4, 3)"


def test_to_converts_weight_and_bias__identity_dtype():
    layer = layer_of(nn.Linear(5, 7).double(), (5,)).to(dtype=torch.float32)
    assert {value.dtype for value in layer.to_tensors().values()} == {torch.float32}
    assert layer.name == "Linear(5, 7)"


def test_unknown_kinds_are_refused__rejects_bad_layers():
    layer = layer_of(nn.Linear(5, 7).double(), (5,))
    with pytest.raises(InputError, match="no layer kind 'pool'"):
        LastLayer(kind="pool", weight=layer.weight, bias=None, input_shape=(5,), output_shape=(7,))
