"""A wrapped generator: seeded samples, batch independence, evaluation mode, latent shapes."""

import json

import pytest
import torch
from torch import nn

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.generators import generator as generator_module
from wherefrom.generators.generator import wrap_generator
from wherefrom.generators.zoo.networks import ARCHITECTURES, initialise, make_generator


def zoo(architecture="dcgan"):
    module = make_generator(architecture, size=32, channels=3, width=4, latent=6)
    initialise(module, stream(0, "test"))
    return module


class Conditional(nn.Module):
    """Two inputs, uniform noise: it draws by itself."""

    def __init__(self):
        super().__init__()
        self.classes = nn.Embedding(3, 4)
        self.last = nn.ConvTranspose2d(4, 1, 4, 2, 1)

    def forward(self, noise, label):
        hidden = noise + self.classes(label)[:, :, None, None]
        return torch.sigmoid(self.last(torch.relu(hidden)))

    def sample(self, n, seed):
        rng = torch.Generator().manual_seed(seed)
        return self(torch.rand(n, 4, 5, 5, generator=rng), torch.randint(3, (n,), generator=rng))


def small(*layers):
    return nn.Sequential(*layers, nn.Tanh())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_image_i_depends_on_seed_and_i_only__identity_batch_independence(architecture):
    generator = wrap_generator(zoo(architecture))
    assert generator.batch_size == 64
    images = generator.sample(70, seed=3)
    assert images.shape == (70, 3, 32, 32) and images.dtype == torch.float32
    assert torch.equal(generator.sample(1, seed=3), images[:1])
    assert torch.equal(generator.sample(65, seed=3), images[:65])
    assert not torch.equal(generator.sample(1, seed=4), images[:1])
    pieces = list(generator.sample_with_activations(66, seed=3, batch=30))
    assert [len(part) for part, _ in pieces] == [30, 30, 4, 2]
    assert torch.equal(torch.cat([part for part, _ in pieces]), images[:66])
    z = torch.cat([part for _, part in pieces])
    again = generator.output_map.forward(generator.last_layer.apply(z))
    assert torch.allclose(again, images[:66], atol=1e-5)


def test_batches_are_counted_before_they_are_made__naive_loop():
    generator = wrap_generator(small(nn.Linear(3, 4)))
    assert generator.batch_size == 64
    for n in (1, 63, 64, 65, 130, 192):
        for batch in (None, 1, 30, 32, 64, 100):
            made = sum(1 for _ in generator.sample_with_activations(n, batch=batch))
            assert generator.batch_count(n, batch) == made


def test_latent_i_is_its_own_stream__reference_module():
    module = zoo()
    images = wrap_generator(module).sample(67, seed=5)
    for i in (2, 66):
        z = torch.randn(6, generator=stream(5, "latent", i))[None]
        with torch.no_grad():
            assert torch.allclose(images[i : i + 1], module(z) / 2 + 0.5, atol=1e-5)


def test_evaluation_mode_is_set_and_recorded__identity_eval():
    module = zoo()
    module.eval()
    module.layers[1].train()
    generator = wrap_generator(module)
    assert generator.was_training and not any(part.training for part in module.modules())
    assert not wrap_generator(module).was_training


def test_a_model_that_draws_by_itself_is_used_as_it_is__identity_sample():
    torch.manual_seed(0)
    module = Conditional()
    generator = wrap_generator(module)
    assert generator.latent_shape is None and generator.last_layer.kind == "conv_transpose"
    images = generator.sample(70, seed=1)
    assert torch.equal(generator.sample(66, seed=1), images[:66])
    with torch.no_grad():
        second = module.sample(64, derive_seed(1, "batch", 1))
    assert torch.allclose(images[64:], second[:6], atol=1e-6)
    assert len({image.numpy().tobytes() for image in images}) == 70
    given = wrap_generator(module, sample=lambda n, seed: module.sample(n, seed + 1))
    assert not torch.equal(given.sample(2, seed=1), images[:2])


def test_latent_shape_is_found__closed_form():
    dense = small(nn.Linear(7, 12), nn.Unflatten(1, (3, 2, 2)))
    assert wrap_generator(dense).latent_shape == (7,)
    transposed = small(nn.ConvTranspose2d(7, 3, 4))
    assert wrap_generator(transposed).latent_shape == (7, 1, 1)
    transposed.nz = 7
    assert wrap_generator(transposed).latent_shape == (7, 1, 1)
    dense.z_dim = 7
    assert wrap_generator(dense).latent_shape == (7,)
    convolution = small(nn.Conv2d(2, 3, 3, padding=1))
    assert wrap_generator(convolution, latent=(2, 5, 4)).image_shape == (3, 5, 4)
    convolution.latent_shape = (2, 3, 4)
    assert wrap_generator(convolution).image_shape == (3, 3, 4)


def test_large_images_run_in_small_batches__closed_form():
    module = small(nn.ConvTranspose2d(2, 3, 8, stride=8))
    generator = wrap_generator(module, latent=(2, 16, 16))
    assert generator.image_shape == (3, 128, 128)
    assert generator.batch_size == 8  # 2**19 / (3 * 128 * 128) = 10.7, rounded down to 2**k
    assert generator_module.BATCH_VALUES == 2**19


def test_description_is_json_and_the_digest_follows_the_weights__roundtrip():
    module = zoo()
    one = wrap_generator(module)
    described = one.describe()
    assert json.loads(json.dumps(described)) == described
    with torch.no_grad():
        module.layers[0].weight[0, 0, 0, 0] += 1
    assert wrap_generator(module).digest != one.digest


def test_what_cannot_be_wrapped_is_refused__rejects_modules():
    convolution = small(nn.Conv2d(2, 3, 3, padding=1))
    with pytest.raises(InputError, match="--latent 100,1,1"):
        wrap_generator(convolution)
    dense = small(nn.Linear(7, 12), nn.Unflatten(1, (3, 2, 2)))
    with pytest.raises(InputError, match="the generator failed: RuntimeError"):
        wrap_generator(dense, latent=(8,))
    with pytest.raises(InputError, match="expected positive sizes"):
        wrap_generator(dense, latent=(0,))
    dense.nz = 9
    with pytest.raises(InputError, match=r"not known \(\(9,\) failed: .*; \(9, 1, 1\) failed: "):
        wrap_generator(dense)
    with pytest.raises(InputError, match="at least 1"):
        wrap_generator(zoo()).sample(0)


def test_nan_weights_are_refused_by_name__rejects_nan():
    module = zoo()
    with torch.no_grad():
        module.layers[3].weight[0, 0, 0, 0] = torch.inf
    with pytest.raises(InputError, match=r"weight 'layers\.3\.weight' contains NaN or infinity"):
        wrap_generator(module)
