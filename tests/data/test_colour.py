"""Embedded profiles become sRGB; sRGB and damaged ones change nothing; what lies behind alpha."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from wherefrom.core.errors import InputError
from wherefrom.core.limits import Limits, parse_colour
from wherefrom.data.images.items import ReadImage, decode_image

HERE = Path("picture")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
COLOUR = Image.fromarray(PIXELS)
GREY = COLOUR.convert("L")
ROUNDING = 2  # levels: Little CMS works with 16-bit tables, and sRGB has a steep start
# Primaries in XYZ at D50, by columns; sRGB and Display P3 as in their ICC profiles, and Adobe RGB.
SRGB = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
P3 = np.array([[0.5151, 0.2919, 0.1572], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
ADOBE = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def profile(tags: dict[bytes, bytes], space: bytes, kind: bytes, pcs: bytes) -> bytes:
    """An ICC profile of version 4, written from the standard."""
    name = "Test".encode("utf-16-be")
    text = b"mluc" + bytes(4) + struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, len(name), 28) + name
    tags = {
        b"desc": text,
        b"cprt": text,
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
    } | tags
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x04200000, kind, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249) + bytes(48)
    return head[:128] + table + body


def matrix_profile(primaries: np.ndarray, gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"%cTRC" % c: curve for c in b"rgb"}
    for number, c in enumerate(b"rgb"):
        tags[b"%cXYZ" % c] = b"XYZ \0\0\0\0" + fixed(*primaries[:, number])
    return profile(tags, b"RGB ", b"mntr", b"XYZ ")


def grey_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return profile({b"kTRC": curve}, b"GRAY", b"mntr", b"XYZ ")


def ink_profile() -> bytes:
    """CMYK to Lab by a grid of its corners: full cyan ink is a blue, no ink is white."""
    ramp = bytes(range(256))
    corners = b""
    for number in range(16):
        c, m, y, k = (number >> shift & 1 for shift in (3, 2, 1, 0))
        light = 0 if k else 255 - 60 * (c + m + y)
        a, b = (128, 128) if k else (128 - 40 * c + 60 * m, 128 - 50 * c + 80 * y)
        corners += bytes((light, min(a, 255), min(b, 255)))
    head = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = head + ramp * 4 + corners + ramp * 3
    return profile({b"A2B0": table, b"A2B1": table}, b"CMYK", b"prtr", b"Lab ")


def read(image: Image.Image, kind: str, icc: bytes | None = None, **options: object) -> ReadImage:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"icc_profile": icc} if icc else {}), **options)
    return decode_image(buffer.getvalue(), HERE)


def as_array(image: ReadImage) -> np.ndarray:
    return image.pixels.permute(1, 2, 0).numpy()


def expected(primaries: np.ndarray, gamma: float) -> np.ndarray:
    linear = (PIXELS / 255) ** gamma @ primaries.T @ np.linalg.inv(SRGB).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 2.2), (ADOBE, 2.2), (SRGB, 1.0)])
def test_wide_colours_become_srgb__closed_form(
    kind: str, primaries: np.ndarray, gamma: float
) -> None:
    picture = read(COLOUR, kind, matrix_profile(primaries, gamma))
    wrong = np.abs(as_array(picture).astype(int) - expected(primaries, gamma))
    assert np.quantile(wrong, 0.99) <= ROUNDING
    assert picture.notes == ("colours converted from the profile Test to sRGB",)
    assert picture.carrier.altered == "its colours were converted from the profile Test"


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "PNG", "TIFF"])
def test_every_format_with_a_profile_is_converted__limit(kind: str) -> None:
    plain = read(COLOUR, kind)
    wide = read(COLOUR, kind, matrix_profile(P3, 2.2))
    assert not np.array_equal(as_array(plain), as_array(wide))
    assert any("Test to sRGB" in note for note in wide.notes)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("image", [COLOUR, GREY])
def test_srgb_changes_no_pixel__identity_srgb(kind: str, image: Image.Image) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = read(image, kind), read(image, kind, icc)
    assert np.array_equal(as_array(plain), as_array(tagged))
    assert tagged.notes == plain.notes


def test_inks_go_through_their_profile__closed_form() -> None:
    white, cyan = (Image.new("CMYK", (8, 8), ink) for ink in ((0, 0, 0, 0), (255, 0, 0, 0)))
    picture = read(white, "JPEG", ink_profile(), quality=100)
    assert picture.pixels.min() >= 250
    assert picture.notes == ("colours converted from the profile Test to sRGB",)
    red, green, blue = read(cyan, "TIFF", ink_profile()).pixels[:, 0, 0].tolist()
    assert blue > green > red  # L = 76, a = -40, b = -50


def test_grey_of_another_gamma_is_converted__closed_form() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = as_array(read(ramp, "PNG", grey_profile(1.8)))[0, :, 0]
    linear = (np.arange(256) / 255) ** 1.8
    wanted = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(levels[1:] - 255 * wanted[1:]).max() <= ROUNDING
    coloured = as_array(read(ramp, "PNG", matrix_profile(ADOBE, 1.8)))
    assert coloured.shape == (1, 256, 1)
    assert (np.diff(coloured[0, :, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    "icc",
    [b"junk", bytes(200), matrix_profile(P3, 2.2)[:300], grey_profile(2.2), ink_profile(),
     matrix_profile(P3, 2.2)[:-40] + bytes(40), bytes(9 * 2**20)],
    ids=range(7),
)  # fmt: skip
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_damaged_or_foreign_profile_is_a_note__rejects_profile(kind: str, icc: bytes) -> None:
    picture = read(COLOUR, kind, icc)
    if "converted" not in str(picture.notes):
        assert np.array_equal(as_array(picture), PIXELS)
        assert len(picture.notes) == 1
        assert "profile" in picture.notes[0]


def test_damaged_profiles_of_every_kind_never_fail__limit() -> None:
    source = np.random.default_rng(3)
    for whole in (matrix_profile(P3, 2.2), ink_profile(), grey_profile(1.8)):
        for _ in range(5):
            icc = bytearray(whole)
            for place in source.integers(0, len(icc), 6):
                icc[place] = source.integers(0, 256)
            image = Image.new("CMYK", (4, 4)) if whole[16:20] == b"CMYK" else COLOUR
            assert read(image, "TIFF", bytes(icc)).pixels.numel()


def test_colours_are_converted_before_alpha_and_turning__identity_order() -> None:
    icc = matrix_profile(P3, 2.2)
    clear = COLOUR.copy()
    clear.putalpha(255)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(clear, "PNG", icc, exif=exif)
    assert np.array_equal(as_array(turned), np.rot90(as_array(read(COLOUR, "PNG", icc)), -1))


@pytest.mark.parametrize(
    ("colour", "wanted"), [("white", 255), ("black", 0), ("#0a0b0c", (10, 11, 12))]
)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_background_is_chosen__closed_form(mode: str, colour: str, wanted: object) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (4, 4), (200,) * (len(mode) - 1) + (0,)).save(buffer, "PNG")
    limits = Limits(background=parse_colour(colour))
    picture = decode_image(buffer.getvalue(), HERE, channels=3, limits=limits)
    assert picture.pixels[:, 0, 0].tolist() == list(
        wanted if isinstance(wanted, tuple) else (wanted,) * 3
    )


@pytest.mark.parametrize("text", ["", "no colour", "#12", "rgb(1,2)", "x" * 100])
def test_what_is_no_colour__rejects_background(text: str) -> None:
    with pytest.raises(InputError, match="expected a colour"):
        parse_colour(text)


def test_the_profile_of_a_png_is_bounded__rejects_bombs() -> None:
    buffer = io.BytesIO()
    COLOUR.save(buffer, "PNG")
    body = b"iCCPp\0\0" + zlib.compress(bytes(9 * 2**20))
    part = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    picture = decode_image(buffer.getvalue()[:33] + part + buffer.getvalue()[33:], HERE)
    assert np.array_equal(as_array(picture), PIXELS)
    assert "longer than 8 MiB" in picture.notes[0]
