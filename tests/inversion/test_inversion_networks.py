"""Layers and networks: equalised rates, blurs, the batch's deviation, shapes, own modules."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.inversion.config import METHODS, InversionConfig
from wherefrom.inversion.networks.assembly import Classes, build_networks
from wherefrom.inversion.networks.bodies import ConvCritic, ConvGenerator, StandardArchitecture
from wherefrom.inversion.networks.layers import (
    BatchDeviation,
    EqualisedConv,
    EqualisedLinear,
    blur_down,
    blur_up,
    initialise,
    set_gain,
)


def draw(*shape, name="x"):
    return torch.randn(*shape, generator=stream(0, name))


def started(module):
    initialise(module, stream(1, "weights"))
    return module


def test_equalised_layers_divide_by_the_root_of_their_inputs__closed_form():
    dense, conv = started(EqualisedLinear(6, 4)), started(EqualisedConv(3, 5, 3))
    with torch.no_grad():
        dense.bias.fill_(0.5)
    x, image = draw(2, 6), draw(2, 3, 8, 8)
    torch.testing.assert_close(dense(x), x @ (dense.weight / 6**0.5).T + 0.5)
    expected = F.conv2d(image, conv.weight / 27**0.5, padding=1)
    torch.testing.assert_close(conv(image), expected, atol=1e-5, rtol=1e-4)
    assert 0.8 < conv.weight.std().item() < 1.2


def test_a_gain_multiplies_the_equalised_weights__closed_form():
    dense, conv = started(EqualisedLinear(6, 4, bias=False)), started(EqualisedConv(3, 5, 3))
    x, image = draw(2, 6), draw(2, 3, 8, 8)
    before = dense(x), conv(image)
    set_gain(nn.ModuleList([dense, conv]), 3.0)
    torch.testing.assert_close(dense(x), 3 * before[0])
    torch.testing.assert_close(conv(image), 3 * before[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("gain", "low", "high"), [(None, 0.2, 1.0), (1.0, 0.0, 0.1)])
def test_by_default_images_depend_on_their_codes_from_the_start__limit(gain, low, high):
    """With a gain of 1 every leaky ReLU takes half of the variance; MNIST's deviate by .35."""
    config = InversionConfig(latent=16, width=8, gain=gain)
    shape = (1, 16, 16)
    made = build_networks(config, shape, Classes(), StandardArchitecture(config, shape), seed=0)
    with torch.no_grad():
        assert low < float(made.generator(draw(256, 16)).std(dim=0).mean()) < high


def test_vectors_keep_the_gain_of_the_thesis__limit():
    config = InversionConfig(latent=4, width=8)
    made = build_networks(config, (2,), Classes(), StandardArchitecture(config, (2,)), seed=0)
    layers = [m for m in made.modules() if isinstance(m, EqualisedLinear)]
    assert all(m.scale == pytest.approx(m.weight.shape[1] ** -0.5) for m in layers)


def test_blur_down_is_the_kernel_of_the_thesis__naive_loop():
    """[1, 3, 3, 1] / 8 along both axes with stride 2, away from the border."""
    x, kernel = draw(1, 1, 8, 8).double(), [1 / 8, 3 / 8, 3 / 8, 1 / 8]
    shrunk = blur_down(x)
    for i in range(1, 3):
        for j in range(1, 3):
            total = sum(
                kernel[a] * kernel[b] * float(x[0, 0, 2 * i - 1 + a, 2 * j - 1 + b])
                for a in range(4)
                for b in range(4)
            )
            assert float(shrunk[0, 0, i, j]) == pytest.approx(total)


def test_blurs_keep_a_constant_to_the_border__limit():
    flat = torch.full((2, 3, 8, 8), 0.7)
    torch.testing.assert_close(blur_down(flat), torch.full((2, 3, 4, 4), 0.7))
    torch.testing.assert_close(blur_up(flat), torch.full((2, 3, 16, 16), 0.7))


def test_blur_up_inserts_zeros_and_blurs__closed_form():
    x = draw(1, 2, 4, 4)
    spaced = torch.zeros(1, 2, 8, 8)
    spaced[..., ::2, ::2] = x
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = torch.outer(row, row).expand(2, 1, 4, 4)
    blurred = F.conv2d(F.pad(spaced, (2, 2, 2, 2)), kernel, groups=2)
    # a filter of even length gives one more pixel; away from the border both agree
    torch.testing.assert_close(blur_up(x)[..., 1:-1, 1:-1], blurred[..., 1:-2, 1:-2])


def test_blur_down_can_be_differentiated_twice__reference_torch():
    x = draw(1, 1, 4, 4).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: blur_down(v).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda v: blur_down(v).square(), (x,))


def test_batch_deviation__naive_loop():
    layer = started(BatchDeviation(3, 2))
    with torch.no_grad():
        layer.spread.bias.fill_(0.1)
    f = draw(5, 3)
    spread = [float(f[:, i].std(unbiased=False)) for i in range(3)]
    own, other = (w.weight.detach() / 3**0.5 for w in (layer.own, layer.spread))
    for n in range(5):
        for o in range(2):
            value = sum(float(own[o, i] * f[n, i] + other[o, i] * spread[i]) for i in range(3))
            value = value / 2**0.5 + 0.1
            expected = value if value > 0 else 0.2 * value
            assert float(layer(f)[n, o].detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
@pytest.mark.parametrize("skip", [False, True])
def test_images_of_every_size_go_both_ways__identity_shapes(size, skip):
    shape = (3, size, size)
    generator = started(ConvGenerator(5, shape, 2, skip=skip))
    critic = started(ConvCritic(shape, 2, input_skip=skip))
    images = generator(draw(2, 5))
    assert images.shape == (2, *shape)
    assert critic(images).ndim == 2
    assert bool(torch.isfinite(critic(images)).all())


def test_the_input_skip_reaches_every_stage__identity_gradient():
    """With the stages' own way cut, the image still reaches the features."""
    critic = started(ConvCritic((1, 16, 16), 2, input_skip=True))
    with torch.no_grad():
        critic.entry.weight.zero_()
    x = draw(1, 1, 16, 16).requires_grad_(True)
    critic(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_pixels_of_the_skip_generator_add_up__closed_form():
    generator = started(ConvGenerator(4, (1, 16, 16), 2, skip=True))
    z = draw(2, 4)
    whole = generator(z)
    parts = []
    for kept in range(len(generator.pixels)):
        alone = started(ConvGenerator(4, (1, 16, 16), 2, skip=True))
        with torch.no_grad():
            for index, layer in enumerate(alone.pixels):
                layer.weight.mul_(float(index == kept))
        parts.append(alone(z))
    torch.testing.assert_close(whole, sum(parts))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_the_same_from_one_seed__identity_seed(method):
    config = InversionConfig(method=method, latent=3, width=2)
    made = StandardArchitecture(config, (1, 8, 8))
    first, again, other = (
        build_networks(config, (1, 8, 8), Classes(1, 3), made, seed=s).state_dict()
        for s in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("shape", "network", "message"),
    [
        ((1, 30, 30), "auto", "images of 30 px; the networks take 8, 16, 28, 32, 64, 128, 256"),
        ((1, 32, 16), "auto", "expected square images"),
        ((3,), "skip", "does not take data of shape"),
        ((1, 32, 32), "mlp", "use 'small'"),
    ],
)
def test_data_that_fits_no_network__rejects_shape(shape, network, message):
    with pytest.raises(InputError, match=message):
        StandardArchitecture(InversionConfig(network=network), shape)


def test_a_codebook_needs_classes_and_a_start_map__rejects():
    plain = InversionConfig(method="dlsgan", codebook=True)
    with pytest.raises(InputError, match="holds pages of classes"):
        build_networks(plain, (2,), Classes(), StandardArchitecture(plain, (2,)), seed=0)

    class Own:
        def generator(self, inputs):
            return nn.Linear(inputs, 2)

        def critic(self):
            return nn.Linear(2, 4)

    paged = InversionConfig(method="cgpgan", codebook=True)
    with pytest.raises(InputError, match="a codebook needs a generator of this package"):
        build_networks(paged, (2,), Classes(1, 3), Own(), seed=0)


def test_pages_are_those_of_the_class__closed_form():
    config = InversionConfig(method="cgpgan", codebook=True, latent=3, width=4)
    networks = build_networks(
        config, (1, 8, 8), Classes(2, 3), StandardArchitecture(config, (1, 8, 8)), seed=0
    )
    generator, seen = networks.generator, []
    original = generator.synthesis.forward
    generator.synthesis.forward = lambda x, pages=None: seen.append(pages) or original(x, pages)
    c = F.one_hot(torch.tensor([[0, 2], [1, 1]]), 3).float()
    generator(draw(2, 3), c)
    book = generator.pages
    assert torch.equal(seen[0][0], torch.cat([book[0, 0], book[1, 2]]))
    assert torch.equal(seen[0][1], torch.cat([book[0, 1], book[1, 1]]))
