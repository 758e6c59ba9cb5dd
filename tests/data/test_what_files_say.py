"""Files that are no image under an image's name, colour spaces without a profile, screenshots."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from wherefrom.core.errors import InputError
from wherefrom.data.images.items import ReadImage, decode_image

COLOUR = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8))


def saved(image: Image.Image = COLOUR, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_chunk(name: bytes, value: bytes) -> bytes:
    data, checksum = saved(), struct.pack(">I", zlib.crc32(name + value))
    place = data.index(b"IDAT") - 4
    return data[:place] + struct.pack(">I", len(value)) + name + value + checksum + data[place:]


def read(data: bytes) -> ReadImage:
    return decode_image(data, Path("a.png"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--a.jpg\n", "git annex get"),
        (b"\n<!DOCTYPE html><html><title>403</title>", "a web page"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b'{"error": "not found"}', "JSON text"),
        (b"data:image/png;base64,iVBOR", "data URL"),
        (b"%PDF-1.7\n", "pdfimages"),
        (b"\x1f\x8b\x08\0rest", "gunzip"),
        (bytes(5000), "zero bytes"),
        (b"some text", "is not an image, or its header is damaged"),
    ],
)
def test_what_stands_in_for_an_image_is_named__rejects(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(data)


def exif(space: int) -> Image.Exif:
    block = Image.Exif()
    block.get_ifd(0x8769)[0xA001] = space
    return block


SRGB_CORNERS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
ADOBE_CORNERS = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (with_chunk(b"cICP", bytes([12, 13, 0, 1])), "Display P3 (PNG cICP)"),
        (with_chunk(b"cICP", bytes([9, 16, 0, 1])), "BT.2020 PQ (HDR)"),
        (with_chunk(b"cICP", bytes([77, 13, 0, 1])), "number 77"),
        (with_chunk(b"cICP", bytes([1, 13, 0, 1])), ""),
        (with_chunk(b"gAMA", struct.pack(">I", 100_000)), "gamma 1"),
        (with_chunk(b"gAMA", struct.pack(">I", 45_455)), ""),
        (with_chunk(b"cHRM", struct.pack(">8I", *ADOBE_CORNERS)), "PNG cHRM"),
        (with_chunk(b"cHRM", struct.pack(">8I", *SRGB_CORNERS)), ""),
        (saved(kind="JPEG", exif=exif(0xFFFF)), "EXIF"),
        (saved(kind="JPEG", exif=exif(2)), "Adobe RGB"),
        (saved(kind="WEBP", lossless=True, exif=exif(2)), "Adobe RGB"),
        (saved(kind="JPEG", exif=exif(1)), ""),
    ],
)
def test_a_colour_space_without_a_profile_is_noted__closed_form(data: bytes, says: str) -> None:
    notes = [note for note in read(data).notes if note.startswith("colour space")]
    assert len(notes) == bool(says)
    assert says in "".join(notes)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_colours_of_another_kind_are_a_change__closed_form(mode: str) -> None:
    carrier = read(saved(COLOUR.convert(mode), "TIFF")).carrier
    assert mode in carrier.altered


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("Software", "Flameshot 12", True),
        ("Software", "Spectacle", True),
        ("Software", "ShareX 16", True),
        ("Software", "gnome-screenshot", True),
        ("Software", "ImageMagick", False),
        ("Title", "Screenshot from 2024-05-01 10-00-00", True),
        ("Title", "Screen Shot 2021-03-01 at 10.00.00 AM", True),
        ("Description", "screenshot of a fox in a game, 4k", False),
        ("Comment", "a cinematic screenshot", False),
    ],
)
def test_screenshots_are_told_from_prompts_about_them__closed_form(
    name: str, value: str, is_one: bool
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(name, value)
    assert ("screenshot" in read(saved(pnginfo=info)).carrier.altered) == is_one
