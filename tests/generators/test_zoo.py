"""The zoo's architectures: shapes, the paper's layer lists, seeded initialisation."""

import itertools

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.generators.zoo.networks import (
    ARCHITECTURES,
    initialise,
    make_discriminator,
    make_generator,
)

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


def size_of(module):
    return sum(p.numel() for p in module.parameters())


def pairs(*widths):
    return list(itertools.pairwise(widths))


@EVERY
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_range__closed_form(architecture, size, channels):
    shape = {"size": size, "channels": channels, "width": 4}
    generator = make_generator(architecture, latent=5, **shape)
    images = generator(torch.randn(3, 5)).detach()
    assert images.shape == (3, channels, size, size)
    assert float(images.min()) >= -1 and float(images.max()) <= 1
    assert generator.latent_shape == (5,)
    judged = make_discriminator(architecture, **shape)(images)
    if architecture == "ebgan":
        assert judged[0].shape == images.shape
        assert judged[1].shape == (3, 16 * (size // 8) ** 2)
    else:
        assert judged.shape == (3,)


@EVERY
def test_latents_with_and_without_spatial_axes_are_the_same__identity_shape(architecture):
    generator = make_generator(architecture, size=32, channels=1, width=4, latent=5).eval()
    z = torch.randn(2, 5)
    assert torch.equal(generator(z), generator(z[:, :, None, None]))


@pytest.mark.parametrize("architecture", ["dcgan", "wgan-gp", "ebgan"])
def test_transposed_generator_has_the_papers_layers__closed_form(architecture):
    """App. G.2: 100 -> 512 -> 256 -> 128 -> 64 -> 3, kernel 4, no bias in the last layer."""
    generator = make_generator(architecture)
    layers = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    widths = pairs(100, 512, 256, 128, 64, 3)
    assert [(m.in_channels, m.out_channels) for m in layers] == widths
    assert {m.kernel_size for m in layers} == {(4, 4)}
    assert [m.stride[0] for m in layers] == [1, 2, 2, 2, 2]
    assert [m.padding[0] for m in layers] == [0, 1, 1, 1, 1]
    assert layers[-1].bias is None
    expected = sum(16 * a * b for a, b in widths) + 2 * (512 + 256 + 128 + 64)
    assert size_of(generator) == expected
    assert isinstance(list(generator.modules())[-1], nn.Tanh)


def test_upsampling_generator_has_the_papers_layers__closed_form():
    """App. G.2: dense to 128 x 8 x 8, then 3x3 convolutions 128 -> 128 -> 128 -> 64 -> 3."""
    generator = make_generator("lsgan")
    layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d)]
    widths = pairs(128, 128, 128, 64, 3)
    assert [(m.in_channels, m.out_channels) for m in layers] == widths
    dense = 101 * 128 * 64
    expected = dense + sum(9 * a * b + b for a, b in widths) + 2 * (128 + 128 + 64)
    assert size_of(generator) == expected


def test_discriminators_have_the_papers_layers__closed_form():
    shape = {"size": 64, "channels": 3, "width": 64}
    widths = pairs(3, 64, 128, 256, 512, 1)
    kernels = sum(16 * a * b for a, b in widths)
    assert size_of(make_discriminator("dcgan", **shape)) == kernels + 2 * (128 + 256 + 512)
    norms = 2 * (128 * 16**2 + 256 * 8**2 + 512 * 4**2)
    critic = make_discriminator("wgan-gp", **shape)
    assert size_of(critic) == kernels + norms
    assert not [m for m in critic.modules() if isinstance(m, nn.BatchNorm2d)]
    widths = pairs(3, 16, 32, 64, 128, 128)
    judge = make_discriminator("lsgan", **shape)
    kernels = sum(9 * a * b + b for a, b in widths)
    assert size_of(judge) == kernels + 2 * (32 + 64 + 128 + 128) + 513
    assert [m.p for m in judge.modules() if isinstance(m, nn.Dropout2d)] == [0.25] * 5
    widths = pairs(3, 64, 128, 256)
    coder = make_discriminator("ebgan", **shape)
    assert size_of(coder) == 2 * sum(16 * a * b for a, b in widths) + 2 * 2 * (64 + 128)


@pytest.mark.parametrize("width", [4, 32])
def test_lsgans_discriminator_keeps_its_widths__identity_deviation(width):
    """Deviation: its widths are the paper's whatever `width` is."""
    narrow = make_discriminator("lsgan", size=64, channels=3, width=width)
    full = make_discriminator("lsgan", size=64, channels=3, width=64)
    assert [p.shape for p in narrow.parameters()] == [p.shape for p in full.parameters()]


def test_a_critic_judges_each_image_by_itself__identity_batch_independence():
    """WGAN-GP: the penalty is per image, so no norm may mix them."""
    critic = make_discriminator("wgan-gp", size=32, channels=1, width=4)
    images = torch.randn(4, 1, 32, 32)
    alone = torch.cat([critic(image[None]) for image in images])
    assert torch.allclose(critic(images), alone, atol=1e-6)


@EVERY
def test_a_stage_more_per_doubling__identity_deviation(architecture):
    """Deviation: the paper's models are 64 pixels only."""

    def depth(size):
        module = make_generator(architecture, size=size, channels=3, width=4, latent=5)
        return sum(isinstance(m, nn.ConvTranspose2d) for m in module.modules())

    # LSGAN keeps its three upsamplings and starts from another side.
    more = 0 if architecture == "lsgan" else 1
    assert depth(128) - depth(64) == depth(64) - depth(32) == more


@EVERY
def test_initialisation_follows_its_stream__limit(architecture):
    first, again, other = (
        make_generator(architecture, size=32, channels=3, width=8, latent=20) for _ in range(3)
    )
    for module, seed in ((first, 0), (again, 0), (other, 1)):
        initialise(module, stream(seed, "test"))
    state, same, different = (m.state_dict() for m in (first, again, other))
    assert all(torch.equal(state[name], same[name]) for name in state)
    for name, module in first.named_modules():
        weight = state.get(f"{name}.weight")
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if architecture == "lsgan":  # U(+-b) with b = 1 / sqrt(fan in) has b / sqrt(3)
                bound = weight[0].numel() ** -0.5
                assert float(weight.abs().max()) <= bound
                deviation = bound / 3**0.5
            else:
                deviation = 0.02
            assert float(weight.std()) == pytest.approx(deviation, rel=0.2)
            assert abs(float(weight.mean())) < deviation / 4
        elif isinstance(module, nn.BatchNorm2d):
            off = float((weight - 1).abs().max())
            assert off == 0 if architecture == "lsgan" else 0 < off < 0.12  # six deviations
        if weight is not None and weight.unique().numel() > 1:
            assert not torch.equal(weight, different[f"{name}.weight"])
        if getattr(module, "bias", None) is not None:
            assert not state[f"{name}.bias"].any()


def test_unknown_names_and_sizes__rejects_arguments():
    with pytest.raises(InputError, match="no architecture 'stylegan'; choose dcgan, wgan-gp"):
        make_generator("stylegan")
    for architecture in ARCHITECTURES:
        with pytest.raises(InputError, match="images of 32, 64 or 128 pixels, not 48"):
            make_generator(architecture, size=48)
