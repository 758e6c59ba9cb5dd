"""Traces of JPEG compression in images that were saved without loss afterwards."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wherefrom.data.decoding.jpeg_traces import jpeg_traces
from wherefrom.data.images.items import decode_image


def photo(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Smooth colours with a little noise."""
    rng = np.random.default_rng(seed)
    few = Image.fromarray(rng.integers(30, 220, (6, 6, 3)).astype(np.uint8))
    wide = np.asarray(few.resize(size, Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((wide + rng.integers(-3, 4, wide.shape)).clip(0, 255).astype(np.uint8))


def compressed(image: Image.Image, **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return Image.open(buffer)


OWN_STEPS = [3 + place // 5 for place in range(64)]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 40},
        {"quality": 75},
        {"quality": 92, "subsampling": 0},
        {"qtables": [OWN_STEPS, OWN_STEPS]},
        {"quality": 80, "progressive": True},
    ],
)
def test_an_earlier_jpeg_file_shows_in_the_pixels__closed_form(options: Any, mode: str) -> None:
    for seed in range(3):
        assert jpeg_traces(compressed(photo(seed).convert(mode), **options))


def test_one_block_with_levels_inside_is_enough__limit() -> None:
    assert jpeg_traces(compressed(photo(1, (8, 8)).convert("L"), quality=60))


def grid(function: Any) -> Image.Image:
    down, right = np.mgrid[:64, :64]
    return Image.fromarray(np.clip(function(down, right), 0, 255).astype(np.uint8))


CLEAN = {
    "photos": [photo(seed) for seed in range(12)],
    "noise": [
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3)).astype(np.uint8))
        for i in range(4)
    ],
    "ramps": [
        grid(lambda y, x: 4 * x),
        grid(lambda y, x: 2 * x + y),
        grid(lambda y, x: (x - 32) ** 2 / 4),
    ],
    "stripes": [grid(lambda y, x, k=k: x % k * 200 / k + 20) for k in range(2, 20)],
    "checks": [
        grid(lambda y, x, k=k: (x // k + y // k) % 2 * 100 + 13 * (x > y)) for k in range(1, 12)
    ],
    "circles": [grid(lambda y, x: 5 * np.hypot(x - 32, y - 32))],
    "flat and small": [
        Image.new("RGB", (64, 64), (9, 9, 9)),
        photo(1, (7, 40)),
        photo(2, (1, 1)),
        photo(3, (9, 9)),
        Image.new("L", (8, 8)),
    ],
    "scaled after": [
        compressed(photo(i), quality=80).resize((48, 48), Image.Resampling.BICUBIC)
        for i in range(4)
    ],
}


@pytest.mark.parametrize("kind", CLEAN)
def test_images_that_were_no_jpeg_file_have_none__closed_form(kind: str) -> None:
    assert [jpeg_traces(image) for image in CLEAN[kind]] == [""] * len(CLEAN[kind])


@pytest.mark.parametrize(
    "options",
    [
        {"format": "PNG"},
        {"format": "WEBP", "lossless": True},
        {"format": "TIFF"},
        {"format": "BMP"},
    ],
)
def test_the_carrier_says_so__closed_form(tmp_path: Any, options: Any) -> None:
    before, after = io.BytesIO(), io.BytesIO()
    photo(4).save(before, **options)
    compressed(photo(4), quality=80).save(after, **options)
    assert decode_image(before.getvalue(), tmp_path / "a").carrier.altered == ""
    assert "JPEG" in decode_image(after.getvalue(), tmp_path / "a").carrier.altered
