"""Damaged bytes of every format: an image or an `UnusableFile`, nothing else, and no noise."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wherefrom.data import UnusableFile
from wherefrom.data.images.items import decode_image

TRIES = 100


def samples() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    clear = colour.copy()
    clear.putalpha(colour.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    moving = {"save_all": True, "append_images": [colour.rotate(180)]}
    cases: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "PNG", {"exif": exif}), (clear, "PNG", {}), (colour.quantize(9), "PNG", {}),
        (deep, "PNG", {}), (colour, "PNG", moving), (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}), (colour.convert("CMYK"), "JPEG", {}),
        (colour, "WEBP", {"exif": exif}), (clear, "WEBP", {"lossless": True}),
        (colour, "WEBP", moving), (colour, "GIF", moving), (colour, "BMP", {}),
        (colour, "PPM", {}), (deep, "TIFF", {}), (colour, "TIFF", {"exif": exif}),
        (colour, "TIFF", moving), (colour.convert("CMYK"), "TIFF", {}), (colour, "MPO", moving),
    ]  # fmt: skip
    files = {}
    for number, (image, kind, options) in enumerate(cases):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[f"{number}-{kind}"] = buffer.getvalue()
    return files


@pytest.mark.parametrize(("name", "whole"), samples().items(), ids=lambda value: str(value)[:8])
def test_random_damage__rejects_or_reads(name: str, whole: bytes) -> None:
    source = random.Random(name)  # noqa: S311 (no secret)
    for _ in range(TRIES):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(source.choice((len(data), min(len(data), 100))))] = (
                source.randrange(256)
            )
        cut = source.choice((len(data), source.randrange(1, len(data))))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                assert decode_image(bytes(data[:cut]), Path(name)).pixels.numel() > 0
            except UnusableFile as problem:
                assert str(problem).isprintable()
