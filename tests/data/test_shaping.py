"""Cropping and scaling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wherefrom.data.folders import read_images
from wherefrom.data.images.items import (
    crop_and_resize,
    to_image,
    to_pixels,
    too_little,
    with_channels,
)


def ramp(height: int, width: int) -> torch.Tensor:
    return torch.arange(height * width * 3).remainder(256).to(torch.uint8).reshape(3, height, width)


@pytest.mark.parametrize("bands", [1, 3])
def test_pillow_and_back__roundtrip(bands: int) -> None:
    pixels = ramp(5, 7)[:bands]
    assert torch.equal(to_pixels(to_image(pixels)), pixels)


def test_the_right_size_is_untouched__identity_size() -> None:
    pixels = ramp(8, 6)
    assert torch.equal(crop_and_resize(pixels, (8, 6)), pixels)


def test_the_crop_is_centred_and_keeps_the_aspect__closed_form() -> None:
    pixels = torch.zeros(3, 4, 12, dtype=torch.uint8)
    pixels[:, :, 4:8] = 200  # the middle square
    assert crop_and_resize(pixels, (2, 2)).unique().tolist() == [200]
    assert crop_and_resize(pixels.transpose(1, 2), (4, 4)).unique().tolist() == [200]


def test_scaling_is_lanczos_of_the_crop__reference_pillow() -> None:
    pixels = ramp(12, 20)
    part = np.ascontiguousarray(pixels[:, :, 4:16].permute(1, 2, 0).numpy())
    wanted = Image.fromarray(part).resize((5, 5), Image.Resampling.LANCZOS)
    assert np.array_equal(crop_and_resize(pixels, (5, 5)).permute(1, 2, 0), np.asarray(wanted))


@pytest.mark.parametrize(("shape", "size"), [((1, 900), (64, 3)), ((700, 2), (5, 64))])
def test_extreme_shapes_still_fit__limit(shape: tuple[int, int], size: tuple[int, int]) -> None:
    fitted = crop_and_resize(torch.full((3, *shape), 77, dtype=torch.uint8), size)
    assert fitted.shape == (3, *size)
    assert fitted.unique().tolist() == [77]


def test_fine_stripes_average_out__limit() -> None:
    pixels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    pixels[:, :, ::2] = 255
    middle = crop_and_resize(pixels, (8, 8))[:, 2:-2, 2:-2]
    assert (middle.int() - 127).abs().max() <= 2  # aliasing would give 0 or 255


def test_channels_of_a_stack__identity_batch() -> None:
    stack = torch.stack([ramp(4, 4), ramp(4, 4).flip(0)])
    one_by_one = torch.stack([with_channels(image, 1) for image in stack])
    assert torch.equal(with_channels(stack, 1), one_by_one)
    assert with_channels(one_by_one, 3).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("actual", "size", "enough"),
    [
        ((1, 1), (32, 32), False), ((20_000, 1), (32, 32), False), ((3, 900), (32, 32), False),
        ((4, 4), (32, 32), True), ((28, 28), (256, 256), True), ((4, 4), (256, 256), False),
        ((32, 32), (32, 32), True), ((900, 5), (8, 8), True), ((2, 2), (2, 2), True),
    ],
)  # fmt: skip
def test_a_dot_is_too_little_to_judge__limit(
    actual: tuple[int, int], size: tuple[int, int], enough: bool
) -> None:
    assert (too_little(actual, size) == "") == enough


def test_a_line_of_pixels_is_skipped_with_its_reason__rejects_lines(tmp_path: Path) -> None:
    for name, size in (("dot", (1, 1)), ("line", (1, 20_000)), ("fine", (40, 30))):
        Image.new("RGB", size, "teal").save(tmp_path / f"{name}.png")
    batch = read_images([tmp_path], channels=3, size=(32, 32), resize=True)
    assert [path.stem for path in batch.paths] == ["fine"]
    assert all("too little to judge" in reason for _, reason in batch.skipped)
    assert "1x20000 px, of which 1x1 px" in batch.skipped[1][1]
