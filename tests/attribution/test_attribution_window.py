"""A window of the last layer: exact as a map, nearly right as an inversion, saved with the rest."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from wherefrom.attribution import fit, load
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.lasso import Inverter
from wherefrom.attribution.final_layer.window import Window, centre_window
from wherefrom.attribution.methods.flipad import mean_activation
from wherefrom.generators.loading import load_generator

EXACT = {"rtol": 0, "atol": 1e-12}  # the same sums in float64

torch.manual_seed(0)  # how much a halo leaves depends on the weights
LAYERS = {
    "decoder": (nn.Conv2d(5, 3, 3, padding=1), (5, 20, 17)),
    "dcgan": (nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=False), (5, 16, 19)),
    "wide": (nn.Conv2d(2, 1, 7, padding=3), (2, 24, 24)),
    "dilated": (nn.Conv2d(4, 2, 3, padding=2, dilation=2, groups=2), (4, 18, 18)),
    "strided": (nn.Conv2d(2, 3, 5, stride=2, padding=2), (2, 25, 22)),
    "kernel of the stride": (nn.ConvTranspose2d(3, 2, 2, 2), (3, 14, 14)),
    "kernel below the stride": (nn.ConvTranspose2d(3, 2, 1, 2), (3, 14, 14)),
    "output padding": (nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1), (3, 15, 14)),
    "audio": (nn.ConvTranspose1d(4, 1, 8, 4, 2), (4, 30)),
}


@pytest.fixture(params=LAYERS)
def layer(request, layer_of):
    torch.manual_seed(0)
    module, shape = LAYERS[request.param]
    return layer_of(module, shape).to(dtype=torch.float64)


@pytest.mark.parametrize(("side", "halo"), [(4, 2), (5, 0), (2, 3)])
def test_the_window_s_layer_makes_the_same_outputs__identity_restriction(layer, side, halo):
    window, smaller = centre_window(layer, side, halo)
    z = torch.randn(2, *layer.input_shape, dtype=torch.float64)
    inside = window.of_inputs(z)
    assert tuple(inside.shape[1:]) == smaller.input_shape
    made = smaller.apply(inside)
    assert tuple(made.shape[1:]) == smaller.output_shape and made.numel() > 0
    torch.testing.assert_close(made, window.of_outputs(layer.apply(z)), **EXACT)


def test_the_middle_is_kept__closed_form(layer):
    window, _ = centre_window(layer, 4, 3)
    z = torch.randn(1, *layer.input_shape)
    middle = tuple(slice((size - 4) // 2, (size - 4) // 2 + 4) for size in layer.input_shape[1:])
    kept = window.without_halo(window.of_inputs(z))
    assert torch.equal(kept, z[(slice(None), slice(None), *middle)])


@pytest.mark.parametrize("halo", [0, 2])
def test_what_is_kept_keeps_all_of_its_outputs__identity_reach(layer, halo):
    """However narrow a halo is asked for."""
    window, _ = centre_window(layer, 4, halo)
    z = torch.zeros(1, *layer.input_shape, dtype=torch.float64)
    window.without_halo(window.of_inputs(z))[:] = 1 + torch.rand(1, dtype=torch.float64)
    made = layer.linear(z)
    assert float(made.abs().sum()) > 0
    torch.testing.assert_close(window.of_outputs(made).abs().sum(), made.abs().sum(), **EXACT)


def test_all_of_a_small_layer__limit(layer_of):
    layer = layer_of(nn.Conv2d(2, 1, 3, padding=1), (2, 8, 8))
    assert centre_window(layer, 8, 0) is None
    assert centre_window(layer, 4, 2) is None  # the halo reaches the border
    assert centre_window(layer, 20, 0) is None
    dense = layer_of(nn.Linear(6, 5), (6,))
    assert centre_window(dense, 2, 1) is None
    oblong = layer_of(nn.Conv2d(2, 1, 3, padding=1), (2, 8, 40))
    window, smaller = centre_window(oblong, 4, 3)
    assert window.inputs == ((0, 8), (15, 25)) and smaller.padding == (1, 0)


def test_a_window_survives_json__roundtrip(layer):
    window, _ = centre_window(layer, 4, 2)
    assert Window.from_meta(json.loads(json.dumps(window.to_meta()))) == window


@pytest.mark.parametrize("kind", ["decoder", "dcgan"])
def test_a_wider_halo_comes_nearer_to_the_whole__limit(kind, layer_of):
    """Deviation: the official code inverts the whole, then crops."""
    torch.manual_seed(0)
    module = LAYERS[kind][0]
    layer = layer_of(module, (5, 24, 24)).to(dtype=torch.float64)
    z_bar = torch.zeros(layer.input_shape, dtype=torch.float64)
    o = layer.apply(torch.randn(1, *layer.input_shape, dtype=torch.float64))
    config = LassoConfig(lam=0.2, effort="exact", gap=1e-5, solver="fista", chunk=1)
    whole = Inverter(layer, z_bar, config).invert(o).activations[..., 10:14, 10:14]
    errors = []
    for halo in (2, 6, 8):
        window, smaller = centre_window(layer, 4, halo)
        found = Inverter(smaller, window.of_inputs(z_bar), config).invert(window.of_outputs(o))
        error = (window.without_halo(found.activations) - whole).norm() / whole.norm()
        errors.append(float(error))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < errors[0] / 4  # 0.04 to 0.07 of 0.57, with the weights


def test_the_mean_of_a_window_is_a_window_of_the_mean__identity_restriction(generator):
    window, _ = centre_window(generator.last_layer, 6, 2)
    whole = mean_activation(generator, 20, 3)
    assert torch.equal(mean_activation(generator, 20, 3, window=window), window.of_inputs(whole))


def test_an_attributor_of_the_centre__roundtrip(generator, smooth, small, tmp_path):
    config = small.with_values({"crop": 10, "halo": 2, "detector.epochs": 1})
    fitted = fit(generator, smooth(80, 0), config=config)
    features = fitted.scorer.features
    assert features.mean_activation.shape == (6, 14, 14)
    assert fitted.scorer.detector.shape == (6, 10, 10)
    images = smooth(3, 5)
    scores = fitted.score(images)
    fitted.save(tmp_path / "m")
    assert torch.equal(load(tmp_path / "m").score(images), scores)
    # 14 of 16 places of z explain the 26 middle pixels of each axis; what lies outside is not seen
    outside = images.clone()
    (top, bottom), (left, right) = features.window.outputs
    assert (top, bottom) == (left, right) == (3, 29)
    keep = outside[..., top:bottom, left:right].clone()
    outside[:] = 127
    outside[..., top:bottom, left:right] = keep
    assert torch.equal(fitted.score(outside), scores)


@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderTiny"])
def test_a_decoder_of_latent_diffusion__smoke(kind, small, tmp_path):
    """A tiny VAE from a diffusers folder, its centre inverted, three channels kept."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    made = {
        "AutoencoderKL": lambda: diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=32,
        ),
        "AutoencoderTiny": lambda: diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ),
    }[kind]()
    made.save_pretrained(tmp_path / "vae")
    generator = load_generator(str(tmp_path / "vae"), latent=(4, 16, 16))
    assert generator.last_layer.kind == "conv" and generator.image_shape == (3, 32, 32)
    config = small.with_values(
        {"crop": 8, "halo": 4, "channels": 3, "max_side": 8, "detector.epochs": 1}
    )
    others = torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fitted = fit(
        generator,
        others,
        config=dataclasses.replace(config, lasso=LassoConfig(lam=1e-5, iterations=4)),
    )
    assert fitted.scorer.detector.shape == (3, 8, 8)
    assert bool(fitted.score(generator.sample(2, seed=8)).isfinite().all())
