"""The block factor against dense algebra, for every kind of layer that has one."""

import pytest
import torch
from torch import nn

from wherefrom.attribution.final_layer.row_factor import _from_rows, _to_rows, factor_rows

RHO = 0.03
LAYERS = {
    "strided transposed": (nn.ConvTranspose2d(5, 2, 4, 2, 1), (5, 6, 4)),
    "transposed": (nn.ConvTranspose2d(5, 2, 3, 1, 1), (5, 6, 4)),
    "odd strided transposed": (
        nn.ConvTranspose2d(4, 3, 5, 3, 2, output_padding=1, bias=False), (4, 5, 3)
    ),
    "dilated": (nn.ConvTranspose2d(4, 2, 3, 1, 2, dilation=2), (4, 6, 5)),
    "grouped": (nn.ConvTranspose2d(4, 2, 4, 2, 1, groups=2), (4, 4, 4)),
    "convolution": (nn.Conv2d(6, 2, 3, 1, 1), (6, 5, 7)),
    "strided convolution": (nn.Conv2d(6, 2, 5, 2, 2), (6, 9, 8)),
    "point": (nn.Conv2d(6, 2, 1), (6, 4, 3)),
    "line": (nn.Conv1d(6, 2, 5, padding=2), (6, 9)),
    "dense": (nn.Linear(12, 7), (12,)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_solution_is_that_of_the_dense_system__closed_form(name, layer_of, matrix_of):
    module, shape = LAYERS[name]
    module.reset_parameters()
    layer = layer_of(module.double(), shape)
    matrix = torch.from_numpy(matrix_of(layer))
    factor = factor_rows(layer, RHO)
    assert factor is not None
    b = torch.randn(3, *layer.output_shape, dtype=torch.float64)
    dense = matrix @ matrix.T + RHO * torch.eye(len(matrix), dtype=torch.float64)
    wanted = torch.linalg.solve(dense, b.flatten(1).T).T.reshape(b.shape)
    torch.testing.assert_close(factor.solve(b), wanted, rtol=1e-9, atol=1e-10)


def test_a_strided_layer_gets_groups_of_its_stride__closed_form(layer_of):
    """4x4 with stride 2 and padding 1: an activation reaches rows 2i - 1 to 2i + 2."""
    factor = factor_rows(layer_of(nn.ConvTranspose2d(5, 2, 4, 2, 1), (5, 6, 4)), RHO)
    assert factor.starts == (0, 1, 3, 5, 7, 9, 11, 12)
    point = factor_rows(layer_of(nn.Conv2d(6, 2, 1), (6, 4, 3)), RHO)
    assert point.starts == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(3, 900, 3, padding=1), (3, 8, 8)),
        (nn.Linear(3, 900), (3,)),
        (nn.Linear(3, 4), (5, 3)),
        (nn.Conv3d(2, 1, 3, padding=1), (2, 4, 4, 4)),
        (nn.Conv2d(2, 400, 3, padding=1), (2, 4, 1)),
    ],
)
def test_layers_without_a_cheap_factor__limit(module, shape, layer_of):
    assert factor_rows(layer_of(module, shape), RHO) is None


def test_rows_and_back__roundtrip():
    for shape in ((4, 3, 5, 6), (4, 3, 5), (4, 7)):
        o = torch.randn(*shape)
        rows = _to_rows(o)
        assert rows.shape == (shape[2] if len(shape) > 2 else 1, o[0].numel() // rows.shape[0], 4)
        assert torch.equal(_from_rows(rows, o.shape), o)
    o = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert _to_rows(o)[1, :, 0].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
