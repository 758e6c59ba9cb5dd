"""Float to bytes and back, grids, PNG files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wherefrom.core.errors import InputError
from wherefrom.data import image_grid, read_image, save_png, to_float, to_uint8

ALL = torch.arange(256, dtype=torch.uint8)


def test_every_byte_survives_as_float__roundtrip() -> None:
    assert torch.equal(to_uint8(to_float(ALL)), ALL)
    assert torch.equal(to_uint8(to_float(ALL).double()), ALL)
    assert to_float(ALL).dtype == torch.float32
    assert to_float(ALL)[[0, 255]].tolist() == [0.0, 1.0]


def test_rounding_is_half_to_even_and_clamped__closed_form() -> None:
    values = torch.tensor([0.5, 1.5, 2.5, 254.5], dtype=torch.float64) / 255
    assert to_uint8(values).tolist() == [round(float(v) * 255) for v in values]
    assert to_uint8(torch.tensor([-0.3, 1.7, 0.5])).tolist() == [0, 255, 128]


def test_what_has_no_byte__rejects_pixels() -> None:
    for bad in (torch.tensor([float("nan")]), torch.tensor([float("inf")]), ALL):
        with pytest.raises(InputError):
            to_uint8(bad)
    with pytest.raises(InputError, match="expected uint8"):
        to_float(torch.zeros(3))


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 4), (5, 4)])
def test_png_files__roundtrip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = torch.randint(
        0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    save_png(pixels, tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert torch.equal(read.pixels, pixels if pixels.ndim == 3 else pixels[None])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_is_no_picture_or_no_place__rejects_saving(tmp_path: Path) -> None:
    good = torch.zeros(3, 4, 4, dtype=torch.uint8)
    for bad in (good.float(), good[:2], good[None], good[:, :0]):
        with pytest.raises(InputError):
            save_png(bad, tmp_path / "a.png")
    with pytest.raises(InputError, match="cannot write"):
        save_png(good, tmp_path / "none" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_grid_goes_row_by_row__naive_loop() -> None:
    images = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 2)
    grid = image_grid(images, 3, gap=1)
    assert grid.shape == (3, 5, 8)
    for index in range(5):
        row, column = divmod(index, 3)
        assert grid[:, row * 3 : row * 3 + 2, column * 3 : column * 3 + 2].unique() == index
    assert (grid[:, 2] == 255).all()
    assert (grid[:, 3:, 6:] == 255).all()
    assert image_grid(images, 9, gap=0).shape == (3, 2, 10)


def test_a_grid_of_nothing__rejects_shapes() -> None:
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    for images, columns in [(image[:0], 1), (image[0], 1), (image.float(), 1), (image, 0)]:
        with pytest.raises(InputError):
            image_grid(images, columns)
