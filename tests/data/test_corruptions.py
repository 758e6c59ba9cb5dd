"""Graded damage: worse by grade, the same for the same key, nothing else touched."""

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.data.altering.corruptions import CORRUPTIONS, GRADES, corrupt

KEYS = ["a", "b"]


def pictures():
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(2, 3, 12, 12, generator=rng)
    return torch.nn.functional.interpolate(small, 64, mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_grade_is_worse__identity_monotone(kind):
    images = pictures()
    damaged = [corrupt(images, kind, grade, keys=KEYS) for grade in GRADES]
    errors = [float((image - images).square().mean()) for image in damaged]
    assert 0 < errors[0] < errors[1] < errors[2]
    for image in damaged:
        assert torch.equal((image * 255).round() / 255, image)
        assert image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_follows_the_key_not_the_place__identity_order(kind):
    images = pictures()
    both = corrupt(images, kind, 2, keys=KEYS)
    turned = corrupt(images.flip(0), kind, 2, keys=KEYS[::-1])
    assert torch.equal(both, turned.flip(0))


def test_swapped_patches_keep_every_value__identity_permutation():
    images = (pictures() * 255).round() / 255
    damaged = corrupt(images, "patch-swap", 3, keys=KEYS)
    assert torch.equal(damaged.flatten(2).sort().values, images.flatten(2).sort().values)
    moved = (damaged != images).any(dim=1).view(2, 4, 16, 4, 16).float().mean(dim=(2, 4)) > 0.5
    assert moved.all()


def test_a_warp_of_a_flat_image_changes_nothing__closed_form():
    flat = torch.full((1, 3, 32, 32), 51 / 255)
    assert torch.equal(corrupt(flat, "warp", 3, keys=["k"]), flat)
    assert torch.equal(corrupt(flat, "blur", 3, keys=["k"]), flat)


def test_noise_has_the_stated_deviation__closed_form():
    flat = torch.full((1, 3, 128, 128), 0.5)
    damaged = corrupt(flat, "noise", 2, keys=["k"]) - flat
    assert float(damaged.std()) == pytest.approx(0.08, rel=0.03)


def test_unknown_damage__rejects():
    with pytest.raises(InputError, match="choose one of blur, jpeg"):
        corrupt(pictures(), "fog", 1, keys=KEYS)
    with pytest.raises(InputError, match="choose 1, 2 or 3"):
        corrupt(pictures(), "blur", 4, keys=KEYS)
    with pytest.raises(InputError, match="1 keys"):
        corrupt(pictures(), "blur", 1, keys=["a"])
    with pytest.raises(InputError, match="from 8 px"):
        corrupt(torch.zeros(1, 3, 4, 4), "blur", 1, keys=["a"])
