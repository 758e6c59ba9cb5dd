"""The project's own small autoencoder: shapes, saving, standardised latents."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from wherefrom.core.errors import InputError
from wherefrom.encoders import load_encoder
from wherefrom.encoders.tiny_conv import (
    TinyConvConfig,
    as_encoder,
    load_autoencoder,
    make_autoencoder,
    save_autoencoder,
)

SMALL = TinyConvConfig(latent_channels=3, width_half=4, width_quarter=6, width_eighth=8, blocks=1)
STATISTICS = 1e-4  # float32 sums over 3 x 16 x 16 places
HALF = 2e-3  # float16 weights, eleven bits, through seven layers


@torch.no_grad()
def noisy(seed=0):
    """A small autoencoder all of whose parts matter."""
    module = make_autoencoder(SMALL, seed=seed)
    for value in module.parameters():
        value.add_(0.05 * torch.randn_like(value))
    module.latent_mean.normal_()
    module.latent_std.uniform_(0.5, 2)
    return module


@pytest.mark.parametrize("config", [SMALL, TinyConvConfig(blocks=0, latent_channels=1)])
def test_latents_have_an_eighth_of_the_resolution__closed_form(config):
    module = make_autoencoder(config)
    z = module.encode(torch.rand(2, 3, 40, 24))
    assert z.shape == (2, config.latent_channels, 5, 3)
    assert module.decode(z).shape == (2, 3, 40, 24)


def test_blocks_start_as_the_identity__limit():
    deep = make_autoencoder(SMALL.with_values({"blocks": 3}))
    block = deep.encoder[1]
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), x)


def test_every_weight_is_trained__identity_gradient():
    module = noisy()
    (module(torch.rand(1, 3, 16, 16)) - 0.5).square().mean().backward()
    assert [k for k, v in module.named_parameters() if v.grad is None or not v.grad.any()] == []


def test_standardised_latents_have_mean_0_and_deviation_1__closed_form():
    module = noisy()
    x = torch.rand(3, 3, 128, 128)
    before = module(x)
    module.set_latent_scale(module.encode(x))
    z = module.encode(x)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3), atol=STATISTICS)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(3), atol=STATISTICS)
    assert torch.allclose(module(x), before, atol=STATISTICS)


def test_seeds_decide_the_start__identity_seed():
    one, again, other = (make_autoencoder(SMALL, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[key]) for key, value in one.items())
    assert not torch.equal(one["encoder.0.weight"], other["encoder.0.weight"])


def test_a_saved_autoencoder_comes_back__roundtrip(tmp_path):
    module, x = noisy(), torch.rand(2, 3, 256, 256)
    save_autoencoder(module, tmp_path / "ae", origin={"command": "train", "seed": 0})
    again = load_autoencoder(tmp_path / "ae")
    assert again.config == SMALL
    assert torch.equal(again(x), module(x))
    encoder = load_encoder(tmp_path / "ae")
    assert encoder.identity.kind == "tiny-conv"
    assert encoder.identity == as_encoder(module).identity
    assert torch.allclose(encoder.embed(x), module.encode(x).flatten(1), atol=STATISTICS)
    config = json.loads((tmp_path / "ae" / "config.json").read_text())
    assert config["_origin"] == {"command": "train", "seed": 0}
    with pytest.raises(InputError, match="already exists"):
        save_autoencoder(module, tmp_path / "ae")
    with pytest.raises(InputError, match="is not a folder"):
        save_autoencoder(module, tmp_path / "no" / "ae")


def test_half_the_size_is_nearly_the_same__roundtrip(tmp_path):
    module, x = noisy(), torch.rand(1, 3, 64, 64)
    for half in (False, True):
        save_autoencoder(module, tmp_path / str(half), half=half)
    sizes = [(tmp_path / str(half) / "model.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.7 * sizes[0]
    with torch.no_grad():
        assert torch.allclose(load_autoencoder(tmp_path / "True")(x), module(x), atol=HALF)


def test_the_encoder_is_a_copy__identity_frozen():
    module = noisy()
    encoder = as_encoder(module)
    before = encoder.embed(torch.full((1, 3, 64, 64), 0.3))
    with torch.no_grad():
        module.encoder[0].weight.zero_()
    assert torch.equal(encoder.embed(torch.full((1, 3, 64, 64), 0.3)), before)
    assert all(value.requires_grad for value in module.parameters())
    assert not any(value.requires_grad for value in encoder.module.parameters())


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("cut", "is not a readable safetensors file"),
        ("absent", "holds no model.safetensors"),
        ("partial", "does not hold the weights"),
        ("shape", "does not hold the weights"),
        ("settings", "no setting 'width'"),
        ("class", "holds a 'VQModel', expected 'tiny-conv'"),
    ],
)
def test_faulty_folders_are_one_line__rejects_folders(tmp_path, kind, problem):
    folder = tmp_path / "ae"
    save_autoencoder(noisy(), folder)
    path, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    state = load_file(path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "absent":
        path.unlink()
    elif kind == "partial":
        save_file({k: v for k, v in state.items() if k != "encoder.0.weight"}, path)
    elif kind == "shape":
        save_file({**state, "latent_mean": torch.zeros(5)}, path)
    elif kind == "settings":
        (folder / "config.json").write_text(json.dumps({**config, "width": 3}))
    else:
        (folder / "config.json").write_text(json.dumps({**config, "_class_name": "VQModel"}))
    with pytest.raises(InputError, match=problem) as error:
        load_autoencoder(folder)
    assert "\n" not in str(error.value)
