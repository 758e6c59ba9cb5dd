"""The networks of Deep SAD: layer lists of the papers, nothing that could hold a constant."""

import itertools

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.detectors.networks import initialise, lenet_widths, make_network


@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((3, 32, 32), (32, 64, 128)),  # Deep SAD's CIFAR-10 network
        ((1, 63, 64), (32, 64, 128)),
        ((3, 64, 64), (32, 64, 128, 128)),
        ((64, 32, 32), (128, 256, 128)),  # FLIPAD, App. G.7
        ((5, 8, 8), (10, 20, 10)),
    ],
)
def test_widths_are_those_of_the_papers__closed_form(shape, widths):
    assert lenet_widths(shape) == widths


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 48), (8, 9, 17)])
def test_lenet_has_the_papers_layers__closed_form(shape):
    """Parameters: 25 per pair of channels, and the dense layer after the halvings."""
    network = make_network(shape, 7)
    widths = lenet_widths(shape)
    height, width = (side // 2 ** len(widths) for side in shape[1:])
    expected = sum(25 * a * b for a, b in itertools.pairwise((shape[0], *widths)))
    expected += widths[-1] * height * width * 7
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network.eval()(torch.zeros(2, *shape)).shape == (2, 7)


def test_mlp_has_the_papers_layers__closed_form():
    network = make_network((11,), 128)
    sizes = [tuple(p.shape) for p in network.parameters()]
    assert sizes == [(512, 11), (1024, 512), (512, 1024), (256, 512), (128, 256), (32, 128)]
    assert network.eval()(torch.zeros(2, 11)).shape == (2, 32)


@pytest.mark.parametrize("shape", [(3, 64, 64), (16, 16, 16), (11,)])
def test_nothing_can_hold_a_constant__identity_no_bias(shape):
    """No bias and no shift: at zero input the output is zero, whatever the weights are."""
    network = make_network(shape, 8)
    assert not [name for name, _ in network.named_parameters() if "bias" in name]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert norms and not any(m.affine for m in norms)
    assert all(m.eps == 1e-4 for m in norms)
    assert float(network.eval()(torch.zeros(1, *shape)).detach().abs().max()) == 0.0


def test_initialisation_follows_its_stream_and_pytorchs_bounds__limit():
    first, again, other = (make_network((3, 16, 16), 8) for _ in range(3))
    for network, seed in ((first, 0), (again, 0), (other, 1)):
        initialise(network, stream(seed, "test"))
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        bound = a[0].numel() ** -0.5
        assert torch.equal(a, b) and not torch.equal(a, c)
        assert 0.9 * bound < float(a.detach().abs().max()) <= bound


def test_shapes_without_a_network__rejects_shapes():
    with pytest.raises(InputError, match="give at least 8x8"):
        make_network((3, 7, 30), 8)
    with pytest.raises(InputError, match=r"expected \(C, H, W\) or \(D,\)"):
        make_network((3, 7), 8)
