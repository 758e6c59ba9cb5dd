"""Impostors: the owner's pictures, changed in the ways that are listed and no other."""

import itertools

import pytest
import torch

from wherefrom.attribution.training.impostors import MOVES, RETOUCHES, make_impostors
from wherefrom.core.rng import stream


def pictures(count):
    return torch.rand(count, 3, 12, 10)


@pytest.mark.parametrize("moved", [0.0, 0.5, 0.3, 1.0])
def test_shares_and_turns_of_the_changes__naive_loop(moved):
    images = pictures(37)
    made = make_impostors(images, seed=3, moved=moved)
    count = round(moved * 37)
    noise = {}
    for i in range(37):
        changes, place = (MOVES, i) if i < count else (RETOUCHES, i - count)
        index = place % len(changes)
        group = images[count:][index :: len(changes)] if changes is RETOUCHES else None
        if changes is RETOUCHES and index >= 10:  # noise: drawn for its whole group at once
            if index not in noise:
                rng = stream(3, "impostors", len(changes), index)
                noise[index] = changes[index](group, rng)
            expected = noise[index][place // len(changes)]
        else:
            expected = changes[index](images[i : i + 1], torch.Generator())[0]
        assert torch.allclose(made[i], expected.clamp(0, 1), atol=1e-6), i


def test_moves_mirror_or_shift_by_one_pixel_with_the_edge_repeated__naive_loop():
    image = pictures(1)
    height, width = image.shape[-2:]
    # (mirrored up-down, mirrored left-right, down, right)
    moves = [(0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, -1, -1), (0, 1, 1, 0), (1, 1, 0, 0)]
    for move, (upside, leftside, down, right) in zip(MOVES, moves, strict=True):
        moved = move(image, torch.Generator())
        for i, j in itertools.product(range(height), range(width)):
            row, column = min(max(i - down, 0), height - 1), min(max(j - right, 0), width - 1)
            row = height - 1 - row if upside else row
            column = width - 1 - column if leftside else column
            assert torch.equal(moved[..., i, j], image[..., row, column])


def test_retouches_keep_the_picture_but_not_the_pixels__limit():
    image = pictures(1)
    for retouch in RETOUCHES:
        made = retouch(image, torch.Generator().manual_seed(0))
        assert made.shape == image.shape
        assert not torch.equal(made, image)
        joined = torch.stack([made.flatten(), image.flatten()])
        assert float(torch.corrcoef(joined)[0, 1]) > 0.3


def test_filters_keep_flat_pictures_flat__limit():
    """A blur, a sharpening or a resampling has weights that sum to one, also at the border."""
    flat = torch.full((1, 3, 9, 11), 0.4)
    for retouch in RETOUCHES[:7]:
        assert torch.allclose(retouch(flat, torch.Generator()), flat, atol=1e-6)


def test_impostors_are_images_again__limit():
    extreme = torch.rand(40, 3, 8, 8).round()
    made = make_impostors(extreme, seed=0, moved=0.25)
    assert made.shape == extreme.shape and made.dtype == torch.float32
    assert float(made.min()) >= 0 and float(made.max()) <= 1
    assert torch.equal(extreme, extreme.round())  # the input is not written to
    assert make_impostors(extreme[:0], seed=0, moved=0.5).shape == (0, 3, 8, 8)


def test_the_same_seed_makes_the_same_impostors__identity_seed():
    images = pictures(48)
    first = make_impostors(images, seed=1, moved=0.5)
    torch.rand(3)
    assert torch.equal(make_impostors(images, seed=1, moved=0.5), first)
    assert not torch.equal(make_impostors(images, seed=2, moved=0.5), first)
