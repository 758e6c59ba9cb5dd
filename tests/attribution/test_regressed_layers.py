"""Regressed layers: least squares, likeness of the pictures, and what the seed decides."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wherefrom.attribution.training.regressed_layers import (
    IMAGES_PER_LAYER,
    RIDGE,
    draw_by_regressed_layers,
    regress,
)
from wherefrom.core.rng import stream


def activations(count=30, channels=4, side=8):
    return torch.randn(count, channels, side, side, generator=stream(0, "redrawn", "z")).relu()


def test_the_new_layer_is_the_least_squares_one__reference_numpy():
    z, rng = activations(), stream(0, "redrawn", "rng")
    o = F.conv_transpose2d(z, torch.randn(4, 1, 4, 4, generator=rng), stride=2, padding=1)
    result = regress(z, o, channels=3, side=1, rng=stream(1, "layers"))
    rng = stream(1, "layers")
    a = torch.randn(3, 4, 1, 1, generator=rng) / 2
    h = F.conv2d(z, a)
    h = F.relu(
        h / h.std(dim=(0, 2, 3), keepdim=True) + 0.5 * torch.randn(1, 3, 1, 1, generator=rng)
    )
    patches = F.unfold(h, 3, padding=1).transpose(1, 2).reshape(-1, 27)
    patches = torch.cat([patches, torch.ones(len(patches), 1)], dim=1).double().numpy()
    blocks = F.pixel_unshuffle(o, 2).permute(0, 2, 3, 1).reshape(-1, 4).double().numpy()
    penalty = np.sqrt(RIDGE * (patches**2).sum(axis=0).mean())
    rows = np.concatenate([patches, penalty * np.eye(28)])
    layer = np.linalg.lstsq(rows, np.concatenate([blocks, np.zeros((28, 4))]), rcond=None)[0]
    wanted = torch.from_numpy(patches @ layer).float().reshape(30, 8, 8, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(result, F.pixel_shuffle(wanted, 2), rtol=1e-3, atol=1e-3)


def test_many_channels_come_nearer_to_the_picture__limit():
    z = activations()
    weight = torch.randn(4, 3, 4, 4, generator=stream(0, "redrawn", "w"))
    o = F.conv_transpose2d(z, weight, stride=2, padding=1)

    def error(channels):
        return float((regress(z, o, channels=channels, side=1, rng=stream(2)) - o).square().mean())

    assert error(32) < 0.5 * error(2) and error(32) > 1e-6 * float(o.square().mean())


def test_a_dense_layer_is_regressed_on_too__identity_shape():
    z = torch.randn(40, 6, generator=stream(0, "dense"))
    o = z @ torch.randn(6, 12, generator=stream(0, "dense w"))
    assert regress(z, o, channels=5, side=3, rng=stream(0)).shape == (40, 12)


def test_the_seed_decides_and_every_hundred_share_their_layers__identity_seed(half_generator):
    count = IMAGES_PER_LAYER + 3
    first = draw_by_regressed_layers(half_generator, count, seed=1)
    assert first.dtype == torch.uint8 and first.shape == (count, *half_generator.image_shape)
    assert torch.equal(first, draw_by_regressed_layers(half_generator, count, seed=1))
    assert not torch.equal(first, draw_by_regressed_layers(half_generator, count, seed=2))


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_are_alike_and_not_the_same__limit(half_generator, seed):
    owner = torch.cat([x for x, _ in half_generator.sample_with_activations(50, seed, batch=100)])
    drawn = draw_by_regressed_layers(half_generator, 50, seed=seed).float() / 255
    error = (drawn - owner).square().mean()
    assert 0 < error < 0.7 * owner.var()
