"""Other last layers: near the owner's, never the owner's, for every kind of layer."""

import pytest
import torch
from torch import nn

from wherefrom.attribution.protocol import stored_samples
from wherefrom.attribution.training.other_layers import (
    IMAGES_PER_LAYER,
    _blend_mirrored,
    _drop_inputs,
    _flatten_kernels,
    _mix_inputs,
    _noise,
    draw_by_other_layers,
    layer_changes,
)
from wherefrom.core.rng import stream

LAYERS = {
    "conv_transpose": (nn.ConvTranspose2d(6, 3, 4, 2, 1), (6, 5, 5)),
    "grouped": (nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2), (6, 5, 5)),
    "conv": (nn.Conv2d(6, 3, 3, padding=1), (6, 8, 8)),
    "grouped conv": (nn.Conv2d(6, 4, 3, padding=1, groups=2), (6, 8, 8)),
    "point": (nn.Conv2d(6, 3, 1), (6, 8, 8)),
    "dense": (nn.Linear(12, 30), (12,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_change_gives_another_layer_of_like_outputs__limit(name, layer_of):
    module, shape = LAYERS[name]
    layer = layer_of(module, shape)
    z = torch.rand(64, *shape, generator=stream(0, "z"))
    out = layer.linear(z).flatten()
    for change in layer_changes(layer):
        weight = change(layer, stream(1, "change"))
        assert weight.shape == layer.weight.shape
        other = type(layer)(**{**vars(layer), "weight": weight})
        moved = other.linear(z).flatten()
        assert not torch.equal(moved, out)
        assert float(torch.corrcoef(torch.stack([out, moved]))[0, 1]) > 0.3


def test_only_layers_with_a_kernel_have_it_flattened__limit(layer_of):
    names = {n: {c.__name__ for c in layer_changes(layer_of(*LAYERS[n]))} for n in LAYERS}
    spatial = {"_flatten_kernels", "_blend_mirrored"}
    assert spatial <= names["conv_transpose"] and spatial <= names["conv"]
    assert not spatial & names["point"] and not spatial & names["dense"]
    assert "_mix_inputs" in names["point"] and "_mix_inputs" not in names["dense"]


@pytest.mark.parametrize(("name", "axis"), [("conv_transpose", 0), ("conv", 1), ("dense", 1)])
def test_changes_of_inputs_act_on_whole_input_channels__naive_loop(name, axis, layer_of):
    layer = layer_of(*LAYERS[name])
    dropped = _drop_inputs(layer, stream(3, "drop"))
    ratio = (dropped / layer.weight).movedim(axis, 0).flatten(1)
    assert all(row.min() == row.max() or torch.allclose(row, row[0]) for row in ratio)
    assert {round(float(row[0]), 4) for row in ratio} <= {0.0, round(8 / 7, 4)}


def test_mixing_is_a_matrix_on_the_input_channels__naive_loop(layer_of):
    layer = layer_of(*LAYERS["conv_transpose"])
    mixed = _mix_inputs(layer, stream(2, "mix"))
    noise = torch.randn(6, 6, generator=stream(2, "mix"))
    matrix = torch.eye(6) + 0.3 * noise / 6**0.5
    for i in range(6):
        wanted = sum(layer.weight[j] * matrix[j, i] for j in range(6))
        assert torch.allclose(mixed[i], wanted, atol=1e-6)


def test_flattening_halves_what_varies_and_keeps_the_mean__closed_form(layer_of):
    layer = layer_of(nn.ConvTranspose2d(40, 3, 4, 2, 1), (40, 5, 5))
    flat = _flatten_kernels(layer, stream(0, "flat"))
    assert torch.allclose(flat.mean((2, 3)), layer.weight.mean((2, 3)), atol=1e-6)
    ratio = flat.std((2, 3)) / layer.weight.std((2, 3))
    assert {round(float(r), 3) for r in ratio.flatten()} == {0.5, 1.0}


def test_blending_makes_kernels_symmetric__identity_mirror(layer_of):
    layer = layer_of(*LAYERS["conv_transpose"])
    blended = _blend_mirrored(layer, stream(0, "blend"))
    assert torch.allclose(blended, blended.flip(2)) or torch.allclose(blended, blended.flip(3))


def test_noise_is_measured_in_deviations_of_the_weights__closed_form(layer_of):
    layer = layer_of(nn.ConvTranspose2d(64, 16, 4), (64, 4, 4))
    change = _noise(0.15)(layer, stream(0, "noise")) - layer.weight
    assert float(change.std() / layer.weight.std()) == pytest.approx(0.15, rel=0.05)


def test_images_are_new_content_and_depend_on_the_seed_only__identity_seed(generator):
    first = draw_by_other_layers(generator, IMAGES_PER_LAYER + 5, seed=1)
    assert first.dtype == torch.uint8
    assert first.shape == (IMAGES_PER_LAYER + 5, *generator.image_shape)
    torch.rand(3)
    assert torch.equal(draw_by_other_layers(generator, IMAGES_PER_LAYER + 5, seed=1), first)
    assert torch.equal(draw_by_other_layers(generator, 8, seed=1), first[:8])
    assert not torch.equal(draw_by_other_layers(generator, 8, seed=2), first[:8])


def test_the_altered_layer_draws_the_same_content__limit(generator):
    own = stored_samples(generator, 8, 5).float().flatten()
    other = draw_by_other_layers(generator, 8, seed=5).float().flatten()
    assert not torch.equal(own, other)
    assert float(torch.corrcoef(torch.stack([own, other]))[0, 1]) > 0.9
