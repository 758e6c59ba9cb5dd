"""Crops: places on the grid, coverage, counts, and the same crop for the same seed."""

import pytest
import torch

from wherefrom.data.altering.crops import GRID, crop_count, each_tile, random_crops


def numbered(count, height, width):
    """Images whose every pixel holds its own number."""
    return torch.arange(count * height * width).reshape(count, 1, height, width)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (40, 72), (20, 32), (33, 47)])
def test_tiles_cover_the_image_but_for_less_than_the_grid__naive_loop(height, width):
    x = numbered(1, height, width)
    seen = set()
    for tile in each_tile(x, 32):
        assert tile.shape[-2:] == (min(32, height), min(32, width))
        row, column = divmod(int(tile[0, 0, 0, 0]), width)
        assert row % GRID == 0 and column % GRID == 0
        seen.update(tile.flatten().tolist())
    missed = set(x.flatten().tolist()) - seen
    assert all(
        divmod(n, width)[0] >= height - height % GRID or divmod(n, width)[1] >= width - width % GRID
        for n in missed
    )
    if height % GRID == 0 and width % GRID == 0:
        assert not missed


def test_crops_are_pieces_of_their_image_on_the_grid__naive_loop():
    x = numbered(5, 64, 48)
    crops = random_crops(x, 32, 3, seed=1)
    assert crops.shape == (15, 1, 32, 32)
    places = set()
    for index, crop in enumerate(crops):
        first = int(crop[0, 0, 0]) - int(x[index // 3, 0, 0, 0])
        row, column = divmod(first, 48)
        assert row % GRID == 0 and column % GRID == 0
        assert torch.equal(crop, x[index // 3, :, row : row + 32, column : column + 32])
        places.add((row, column))
    assert len(places) > 3


def test_a_small_image_is_one_whole_crop__limit():
    x = numbered(4, 32, 30)
    assert torch.equal(random_crops(x, 32, 1, seed=0), x)
    assert [torch.equal(tile, x) for tile in each_tile(x, 32)] == [True]


def test_the_same_seed_takes_the_same_crops__identity_seed():
    x = numbered(6, 64, 64)
    first = random_crops(x, 32, 2, seed=3)
    torch.rand(2)
    assert torch.equal(random_crops(x, 32, 2, seed=3), first)
    assert not torch.equal(random_crops(x, 32, 2, seed=4), first)


@pytest.mark.parametrize(
    ("side", "count"), [((32, 32), 1), ((64, 64), 4), ((33, 32), 2), ((256, 256), 4), ((8, 8), 1)]
)
def test_an_image_is_worth_its_tiles_but_no_more_than_four__closed_form(side, count):
    assert crop_count((3, *side), 32) == count
