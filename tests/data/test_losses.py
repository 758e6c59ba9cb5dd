"""What a file tells of changed pixels: palettes, bits, codecs, profiles, alpha, scaling."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from wherefrom.data.decoding.images import Carrier
from wherefrom.data.images.items import decode_image

HERE = Path("picture")
RNG = np.random.default_rng(0)
COLOUR = Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
GREY = COLOUR.convert("L")
CLEAR = COLOUR.copy()
CLEAR.putalpha(GREY)
RAMP = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
OPAQUE = COLOUR.copy()
OPAQUE.putalpha(255)


def carrier(image: Image.Image, kind: str, **options: object) -> Carrier:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode_image(buffer.getvalue(), HERE).carrier


def deep(kind: str, values: np.ndarray) -> Carrier:
    return carrier(Image.fromarray(values.astype(np.uint16)), kind)


LEVELS = np.asarray(GREY).astype(int)


@pytest.mark.parametrize(
    ("carrier", "says"),
    [
        (carrier(COLOUR.quantize(8), "PNG"), "palette of 8"),
        (carrier(COLOUR.quantize(256), "PNG"), "palette of 256"),
        (carrier(COLOUR.quantize(200), "TIFF"), "palette"),
        (carrier(COLOUR.quantize(200), "BMP"), "palette"),
        (carrier(COLOUR, "GIF"), "palette"),
        (carrier(GREY.quantize(8), "GIF"), "palette"),
        (carrier(GREY.convert("1"), "PNG"), "1 bit"),
        (carrier(GREY.convert("1"), "TIFF", compression="group4"), "1 bit"),
        (carrier(GREY.convert("1"), "PPM"), "1 bit"),
        (carrier(COLOUR, "JPEG"), ""),
        (carrier(COLOUR, "WEBP"), ""),
        (carrier(COLOUR, "AVIF", quality=100), ""),
        (carrier(COLOUR, "TIFF", compression="jpeg"), ""),
    ],
)
def test_what_quantises_is_lossy__closed_form(carrier: Carrier, says: str) -> None:
    assert not carrier.lossless
    assert says in carrier.altered
    assert bool(says) == bool(carrier.altered)


@pytest.mark.parametrize(
    "carrier",
    [
        carrier(COLOUR, "PNG"), carrier(GREY, "PNG"), carrier(OPAQUE, "PNG"),
        carrier(RAMP, "GIF"), carrier(GREY, "BMP"), carrier(COLOUR, "WEBP", lossless=True),
        carrier(COLOUR, "TIFF", compression="tiff_lzw"), carrier(COLOUR, "PPM"),
        deep("PNG", LEVELS * 257), deep("PNG", LEVELS * 256), deep("TIFF", LEVELS * 256),
        carrier(COLOUR, "PNG", icc_profile=ImageCms.ImageCmsProfile(
            ImageCms.createProfile("sRGB")).tobytes()),
        carrier(Image.new("RGB", (40, 40), "teal"), "PNG"),
    ],
)  # fmt: skip
def test_what_keeps_every_pixel_is_lossless__closed_form(carrier: Carrier) -> None:
    assert carrier.lossless
    assert carrier.altered == ""


def test_16_bits_that_hold_8_are_given_back_exactly__roundtrip() -> None:
    for factor in (256, 257):
        buffer = io.BytesIO()
        Image.fromarray((LEVELS * factor).astype(np.uint16)).save(buffer, "PNG")
        assert np.array_equal(decode_image(buffer.getvalue(), HERE).pixels[0].numpy(), LEVELS)


def text(name: str, value: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(name, value)
    return info


def sizes(width: int, height: int, **more: object) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0131] = "Painter"
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003] = width, height
    if more:
        exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0Screenshot"
    return exif


@pytest.mark.parametrize(
    ("carrier", "says"),
    [
        (carrier(CLEAR, "PNG"), "laid over white"),
        (deep("PNG", LEVELS * 257 + 3), "16 bits"),
        (carrier(COLOUR.quantize(8).convert("RGB"), "PNG"), "only 8 colours"),
        (carrier(GREY.quantize(8).convert("L"), "PNG"), "greys"),
        (carrier(GREY.quantize(16).convert("RGB"), "BMP"), "greys"),
        (carrier(COLOUR.resize((80, 80), Image.Resampling.NEAREST), "PNG"), "repeated 2"),
        (carrier(GREY.resize((120, 120), Image.Resampling.NEAREST), "BMP"), "repeated 3"),
        (carrier(COLOUR, "PNG", pnginfo=text("jpeg:sampling-factor", "2x2,1x1,1x1")), "JPEG"),
        (carrier(COLOUR, "PNG", pnginfo=text("Software", "gnome-screenshot")), "screenshot"),
        (carrier(COLOUR, "PNG", exif=sizes(40, 40, comment=True)), "screenshot"),
        (carrier(COLOUR, "PNG", exif=sizes(1290, 2796)), "1290x2796"),
        (carrier(COLOUR, "WEBP", lossless=True, exif=sizes(80, 80)), "scaled or cropped"),
    ],
)
def test_other_changes_are_told_from_the_file__closed_form(carrier: Carrier, says: str) -> None:
    assert says in carrier.altered


def test_a_size_in_the_exif_may_lie_on_its_side__identity_turned() -> None:
    tall = COLOUR.crop((0, 0, 40, 20))
    assert carrier(tall, "PNG", exif=sizes(20, 40)).altered == ""
    assert carrier(tall, "PNG", exif=sizes(40, 20)).altered == ""


def test_pixels_are_searched_on_request__closed_form() -> None:
    """What the header states is said in any case."""
    few = Image.fromarray(np.asarray(GREY) // 64 * 64)
    for image, header_says in ((few, False), (COLOUR.quantize(8), True)):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        said = [
            decode_image(buffer.getvalue(), HERE, losses=losses).carrier.altered
            for losses in (True, False)
        ]
        assert said[0] and bool(said[1]) == header_says
