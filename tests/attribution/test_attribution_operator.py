"""The last layer's norm and its fast form, against dense matrices built column by column."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from wherefrom.attribution.final_layer.operator import FREQUENCIES, FastOperator, squared_norm

# float64: sums of at most ~1e3 products of numbers near 1.
TOLERANCE = 1e-11
# A window of size s lowers the norm by a term of order (kernel reach / s)^2, and 300 power
# iterations end below the norm by a term of order 1 / 300.
FINITE_EXCESS = 1.02


def seeded(module):
    """The module in float64, drawn again: parameters of a test are made before its seed is set."""
    module.reset_parameters()
    return module.double()


def power_iteration(matrix, steps=3000):
    """The largest eigenvalue of A^T A, from below."""
    gram = matrix.T @ matrix
    v = np.random.default_rng(0).standard_normal(len(gram))
    for _ in range(steps):
        v = gram @ v
        v /= np.linalg.norm(v)
    return float(v @ gram @ v)


def geometries():
    """Small layers of every kind of geometry; sizes odd and even."""
    grid = itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1), (1, 2), (1, 2), (5, 6))
    for kernel, stride, padding, dilation, groups, size in grid:
        plain = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if size + 2 * padding >= dilation * (kernel - 1) + 1:
            yield nn.Conv2d(4, 2, kernel, **plain), (4, size, size)
        if (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 >= 1:
            yield nn.ConvTranspose2d(4, 2, kernel, **plain), (4, size, size)


def uneven():
    """Rectangular geometry, other numbers of axes, 1x1 images, dense layers."""
    yield nn.Conv2d(2, 3, (4, 1), stride=(3, 2), padding=(0, 1)), (2, 11, 6)
    yield nn.ConvTranspose2d(2, 3, (4, 3), stride=(2, 3), output_padding=(1, 2)), (2, 4, 5)
    yield nn.ConvTranspose2d(2, 3, (1, 5), stride=(1, 2), dilation=(1, 2)), (2, 3, 5)
    yield nn.ConvTranspose2d(3, 2, 4), (3, 1, 1)
    yield nn.Conv2d(3, 2, 1), (3, 1, 1)
    yield nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9)
    yield nn.ConvTranspose3d(2, 4, 3, stride=2, padding=1), (2, 2, 3, 2)
    yield nn.Linear(5, 7), (5,)
    yield nn.Linear(5, 7), (3, 5)


def test_bound_is_never_below_the_norm__reference_power_iteration(layer_of, matrix_of):
    count = 0
    for module, shape in [*list(geometries())[::3], *uneven()]:
        layer = layer_of(seeded(module), shape)
        assert squared_norm(layer) >= power_iteration(matrix_of(layer), 200) * (1 - TOLERANCE)
        count += 1
    assert count > 100


@pytest.mark.parametrize(
    ("module", "size", "degree"),
    [
        (nn.ConvTranspose2d(2, 3, 4, 2, 1), 24, 2),
        (nn.Conv2d(2, 3, 3, 1, 1), 32, 2),
        (nn.Conv2d(2, 3, 3, 2, 1), 47, 1),
        (nn.ConvTranspose2d(2, 3, 3, 1, 1, dilation=2), 48, 4),
        (nn.ConvTranspose2d(2, 2, 5, 3, 1, groups=2), 24, 2),
    ],
)
def test_bound_is_tight_on_a_large_image__reference_power_iteration(layer_of, module, size, degree):
    """Too large by the grid's excess, and by what a finite image takes from the worst wave."""
    layer = layer_of(seeded(module), (2, size, size))
    z = torch.randn(1, 2, size, size, dtype=torch.float64)
    for _ in range(300):
        z = z / z.norm()
        z = layer.adjoint(layer.linear(z))
    grid_excess = 1 / math.cos(math.pi * degree / FREQUENCIES) ** 2
    assert 1 <= squared_norm(layer) / float(z.norm()) <= grid_excess * FINITE_EXCESS


@pytest.mark.parametrize("transposed", [False, True])
def test_norm_of_a_constant_kernel_is_its_sum_squared__closed_form(layer_of, transposed):
    """Non-negative kernel, stride one: the worst wave is the constant one."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    module = kind(1, 1, 3, padding=1, bias=False).double()
    nn.init.uniform_(module.weight, 0.1, 1.0)
    total = float(module.weight.detach().sum()) ** 2
    # The kernel has degree 2 in each axis: 1 / cos(2 pi / 64)^2 = 1.0097.
    assert total <= squared_norm(layer_of(module, (1, 9, 9))) <= 1.01 * total


def test_norms_of_dense_and_pointwise_layers_are_exact__reference_numpy(layer_of):
    dense, point = nn.Linear(5, 7).double(), nn.Conv2d(5, 7, 1).double()
    expected = np.linalg.norm(dense.weight.detach().numpy(), 2) ** 2
    assert squared_norm(layer_of(dense, (5,))) == pytest.approx(expected, rel=1e-12)
    expected = np.linalg.norm(point.weight.detach().numpy()[..., 0, 0], 2) ** 2
    assert squared_norm(layer_of(point, (5, 4, 4))) == pytest.approx(expected, rel=1e-12)


def test_norm_of_a_zero_layer_is_zero__limit(layer_of):
    module = nn.Conv2d(1, 1, 3)
    nn.init.zeros_(module.weight)
    assert squared_norm(layer_of(module, (1, 5, 5))) == 0.0


def phased():
    """Transposed convolutions whose output is a whole number of phases."""
    yield nn.ConvTranspose2d(3, 2, 4, 2, 1), (3, 4, 5)
    yield nn.ConvTranspose2d(3, 2, 2, 2, 0), (3, 3, 4)
    yield nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1), (3, 4, 5)
    yield nn.ConvTranspose2d(3, 2, (4, 6), 2, (1, 2)), (3, 4, 5)
    yield nn.ConvTranspose2d(3, 2, 5, 3, 1), (3, 3, 2)
    yield nn.ConvTranspose2d(3, 1, 7, 3, 2), (3, 3, 2)
    yield nn.ConvTranspose2d(3, 2, 8, 4, 2), (3, 1, 3)


def unphased():
    """Layers that keep their layout."""
    yield nn.ConvTranspose2d(4, 2, 3, 1, 1), (4, 4, 5)
    yield nn.ConvTranspose2d(4, 2, 4, 2, 1, groups=2), (4, 4, 5)
    yield nn.ConvTranspose2d(4, 2, 4, 2, (0, 1)), (4, 4, 5)
    yield nn.ConvTranspose2d(4, 2, 4, 2, (1, 0)), (4, 4, 5)
    yield nn.ConvTranspose2d(4, 2, 3, 2, 2, dilation=2, output_padding=1), (4, 4, 5)
    yield nn.ConvTranspose2d(4, 2, (4, 3), (2, 1), 1), (4, 4, 5)
    yield nn.ConvTranspose1d(4, 2, 4, 2, 1), (4, 6)
    yield nn.Conv2d(4, 2, 3, 1, 1), (4, 4, 5)
    yield nn.Linear(4, 2), (4,)


@pytest.mark.parametrize(("module", "shape"), [*phased(), *unphased()])
def test_fast_form_gives_the_same_numbers_and_is_adjoint__identity_phases(layer_of, module, shape):
    layer = layer_of(seeded(module), shape)
    fast = FastOperator.of(layer)
    z = torch.randn(2, *shape, dtype=torch.float64)
    r = torch.randn(2, *layer.output_shape, dtype=torch.float64)
    forward = fast.linear(z)
    assert torch.allclose(forward, fast.to_phases(layer.linear(z)), atol=TOLERANCE)
    back = fast.adjoint(fast.to_phases(r))
    assert torch.allclose(back, layer.adjoint(r), atol=TOLERANCE)
    inner = (forward * fast.to_phases(r)).sum() - (z * back).sum()
    assert abs(float(inner)) < TOLERANCE * r.numel()


@pytest.mark.parametrize(("module", "shape"), [*phased()])
def test_strided_transposed_layers_take_the_fast_form__smoke(layer_of, module, shape):
    fast = FastOperator.of(layer_of(module, shape))
    assert fast.forward_kernel is not None and fast.adjoint_kernel is not None


@pytest.mark.parametrize(("module", "shape"), [*unphased()])
def test_other_layers_keep_their_layout__identity_layout(layer_of, module, shape):
    fast = FastOperator.of(layer_of(module, shape))
    r = torch.randn(2, *fast.layer.output_shape)
    assert fast.forward_kernel is None and fast.adjoint_kernel is None
    assert fast.to_phases(r) is r
