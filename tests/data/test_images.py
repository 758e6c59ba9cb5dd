"""Reading one file: every kind of picture, exactly; every kind of problem, in one line."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data import Limits, ReadImage, UnusableFile, read_image
from wherefrom.data.decoding.colour import nearest_bytes
from wherefrom.data.decoding.images import strict_pillow
from wherefrom.data.images.items import decode_image

HERE = Path("picture")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
COLOUR = Image.fromarray(PIXELS)
GREY = Image.fromarray(PIXELS[..., 0])
DEEP = RNG.integers(0, 65536, (6, 5, 4))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(values: np.ndarray, colour_type: int, *, key: bytes = b"", bits: int = 16) -> bytes:
    """A PNG file from integers (H, W, C), written from the standard without Pillow."""
    height, width = values.shape[:2]
    kind = ">u2" if bits == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"tRNS", key) if key else b""]
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def as_array(image: ReadImage) -> np.ndarray:
    assert image.pixels.dtype == torch.uint8
    assert image.pixels.is_contiguous()
    return image.pixels.permute(1, 2, 0).numpy()


def nearest(values: np.ndarray) -> np.ndarray:
    return np.rint(values / 257).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_the_pixels_back__roundtrip(kind: str) -> None:
    read = decode_image(encode(COLOUR, kind), HERE)
    assert np.array_equal(as_array(read), PIXELS)
    assert (read.format, read.lossless, read.notes) == (kind, True, ())


def test_the_file_on_disk_is_read_with_its_digest__roundtrip(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(GREY, "PNG"))
    read = read_image(path)
    assert read.path == path
    assert read.digest == digest_bytes(path.read_bytes())
    assert np.array_equal(as_array(read)[..., 0], PIXELS[..., 0])


def test_rounding_16_bits_is_to_nearest_for_every_value__naive_loop() -> None:
    values = np.arange(65536).reshape(1024, 64)
    high, low = (values >> 8).astype(np.uint8), (values & 255).astype(np.uint8)
    assert np.array_equal(nearest_bytes(high, low), nearest(values))


@pytest.mark.parametrize(("colour_type", "bands"), [(0, 1), (2, 3)])
def test_16_bit_png_is_rounded__closed_form(colour_type: int, bands: int) -> None:
    values = DEEP[..., :bands]
    read = decode_image(png(values, colour_type), HERE)
    assert np.array_equal(as_array(read), nearest(values))
    assert read.notes == ("16-bit reduced to 8",)


@pytest.mark.parametrize(("colour_type", "bands"), [(4, 2), (6, 4)])
def test_16_bit_png_with_alpha_is_laid_over_white__closed_form(
    colour_type: int, bands: int
) -> None:
    values = nearest(DEEP[..., :bands]).astype(int)
    colour, alpha = values[..., :-1], values[..., -1:]
    read = decode_image(png(DEEP[..., :bands], colour_type), HERE)
    over = np.floor((colour * alpha + 255 * (255 - alpha)) / 255 + 0.5)
    assert np.array_equal(as_array(read), over)
    assert read.notes == ("16-bit reduced to 8", "alpha dropped over white")


@pytest.mark.parametrize(("colour_type", "bands"), [(0, 1), (2, 3)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_becomes_white__closed_form(
    colour_type: int, bands: int, bits: int
) -> None:
    values = DEEP[..., :bands] >> (16 - bits)
    key = values[2, 3]
    close = values.copy()
    close[0, 0] = key ^ 1  # equal to the key in its high byte only
    read = decode_image(png(close, colour_type, key=key.astype(">u2").tobytes(), bits=bits), HERE)
    wanted = nearest(close) if bits == 16 else close.astype(np.uint8)
    wanted[(close == key).all(-1)] = 255
    assert np.array_equal(as_array(read), wanted)
    assert "alpha dropped over white" in read.notes


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_colour_tiff_is_rounded__closed_form(order: str) -> None:
    values = DEEP[..., :3]
    read = decode_image(tiff_16(values, order, photometric=2), HERE)
    assert np.array_equal(as_array(read), nearest(values))


def test_16_bit_tiff_with_white_as_zero_is_inverted__closed_form() -> None:
    read = decode_image(tiff_16(DEEP[..., :1], "<", photometric=0), HERE)
    assert np.array_equal(as_array(read), nearest(65535 - DEEP[..., :1]))


def tiff_16(values: np.ndarray, order: str, *, photometric: int, planar: int = 1) -> bytes:
    """An uncompressed one-strip TIFF of 16-bit integers (H, W, C), written from the standard."""
    height, width, bands = values.shape
    data = values.astype(f"{order}u2").tobytes()
    bits_at = 8 + len(data)
    short, wide = 3, 4
    bits = (258, short, bands, bits_at if bands > 2 else 16)
    entries = [(256, short, 1, width), (257, short, 1, height), bits, (259, short, 1, 1)]
    entries += [(262, short, 1, photometric), (273, wide, 1, 8), (277, short, 1, bands)]
    entries += [(278, short, 1, height), (279, wide, 1, len(data)), (284, short, 1, planar)]
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        field = "H2x" if kind == short and count == 1 else "I"
        directory += struct.pack(f"{order}HHI{field}", tag, kind, count, value)
    directory += struct.pack(f"{order}I", 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", bits_at + 2 * bands)
    return head + data + struct.pack(f"{order}{bands}H", *[16] * bands) + directory


def test_16_bit_pgm_is_rounded__closed_form() -> None:
    data = b"P5 5 6 65535\n" + DEEP[..., 0].astype(">u2").tobytes()
    assert np.array_equal(as_array(decode_image(data, HERE)), nearest(DEEP[..., :1]))


@pytest.mark.parametrize(("head", "factor"), [(b"P6 5 6 15\n", 17), (b"P6 5 6 255\n", 1)])
def test_ppm_of_unusual_depth_is_scaled__closed_form(head: bytes, factor: int) -> None:
    values = PIXELS // factor
    read = decode_image(head + values.tobytes(), HERE)
    assert np.array_equal(as_array(read), values * factor)
    assert read.notes == (() if factor == 1 else ("values scaled to 8 bits",))


def test_palette_is_expanded_and_its_transparency_is_white__closed_form() -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 2]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    plain = decode_image(encode(image, "PNG"), HERE)
    assert as_array(plain).reshape(4, 3).tolist() == [
        [10, 20, 30], [40, 50, 60], [40, 50, 60], [70, 80, 90],
    ]  # fmt: skip
    assert plain.notes == ("palette expanded",)
    clear = decode_image(encode(image, "PNG", transparency=1), HERE)
    assert as_array(clear)[0, 1].tolist() == [255, 255, 255]
    assert as_array(clear)[1, 1].tolist() == [70, 80, 90]


def test_opaque_alpha_changes_no_pixel__identity_opaque() -> None:
    image = COLOUR.copy()
    image.putalpha(255)
    read = decode_image(encode(image, "PNG"), HERE)
    assert np.array_equal(as_array(read), PIXELS)
    assert read.notes == ("opaque alpha dropped",)


def test_one_bit_becomes_black_and_white__closed_form() -> None:
    read = decode_image(encode(GREY.convert("1"), "PNG"), HERE)
    assert np.array_equal(as_array(read)[..., 0] == 255, np.asarray(GREY.convert("1")))
    assert set(read.pixels.unique().tolist()) <= {0, 255}


def test_cmyk_jpeg_becomes_rgb__limit() -> None:
    white = decode_image(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), HERE)
    black = decode_image(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), HERE)
    assert white.pixels.shape == (3, 8, 8)
    assert white.pixels.min() >= 254
    assert black.pixels.max() <= 1
    assert white.notes == ("CMYK converted",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_applied__closed_form(kind: str, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    turned = {
        1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2), 6: np.rot90(PIXELS, -1),
        7: np.rot90(PIXELS, 2).transpose(1, 0, 2), 8: np.rot90(PIXELS),
    }  # fmt: skip
    read = decode_image(encode(COLOUR, kind, exif=exif), HERE)
    assert np.array_equal(as_array(read), turned[value])
    assert read.notes == (() if value == 1 else ("EXIF orientation applied",))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame__closed_form(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime")]
    exact = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **exact)
    read = decode_image(data, HERE)
    assert read.pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert "first of several frames" in read.notes


def test_lossy_formats_are_told_from_lossless_ones__closed_form() -> None:
    clear = COLOUR.copy()
    clear.putalpha(GREY)
    moving = {"save_all": True, "append_images": [COLOUR.rotate(90)]}
    cases = [
        (encode(COLOUR, "JPEG"), False),
        (encode(COLOUR, "WEBP"), False),
        (encode(clear, "WEBP"), False),
        (encode(COLOUR, "WEBP", **moving), False),
        (encode(COLOUR, "WEBP", lossless=True), True),
        (encode(COLOUR, "WEBP", lossless=True, exif=b"Exif\0\0"), True),
        (encode(clear, "WEBP", lossless=True, **moving), True),
        (encode(COLOUR, "TIFF", compression="jpeg"), False),
        (encode(COLOUR, "TIFF", compression="tiff_lzw"), True),
        (encode(COLOUR, "GIF"), False),  # a palette
    ]
    assert [decode_image(data, HERE).lossless for data, _ in cases] == [known for _, known in cases]


def test_channels_are_repeated_or_averaged__reference_pillow() -> None:
    grey = decode_image(encode(COLOUR, "PNG"), HERE, channels=1)
    assert np.array_equal(as_array(grey)[..., 0], np.asarray(COLOUR.convert("L")))
    assert grey.notes == ("colour averaged to grey (ITU-R 601 luma)",)
    colour = decode_image(encode(GREY, "PNG"), HERE, channels=3)
    assert np.array_equal(as_array(colour), np.repeat(PIXELS[..., :1], 3, 2))
    assert colour.notes == ("grey repeated to 3 channels",)
    back = decode_image(encode(GREY.convert("RGB"), "PNG"), HERE, channels=1)
    assert np.array_equal(as_array(back)[..., 0], PIXELS[..., 0])
    assert back.notes == ("equal channels merged to grey",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"just some words", "is not an image"),
        (b"\0\0\0\x20ftypavif" + bytes(20), "AVIF file that is damaged"),
        (encode(GREY.convert("F"), "TIFF"), "floating-point"),
        (encode(GREY.convert("I"), "TIFF"), "32-bit integer"),
        (encode(COLOUR.convert("LAB"), "TIFF"), "colour space LAB"),
        (tiff_16(DEEP[..., :3], "<", photometric=2, planar=2), "separate planes"),
        (b"P6 3000 3000 99\n" + bytes(100), "unusual depth"),
    ],
)
def test_what_has_no_defined_pixels__rejects_strange_files(data: bytes, says: str) -> None:
    with pytest.raises(UnusableFile, match=says) as caught:
        decode_image(data, HERE)
    assert str(caught.value).startswith("picture: ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_a_file_cut_anywhere_is_never_a_wrong_image__rejects_truncated(kind: str) -> None:
    whole = encode(COLOUR, kind)
    known = decode_image(whole, HERE).pixels
    refused = 0
    for length in range(len(whole)):
        try:
            assert torch.equal(decode_image(whole[:length], HERE).pixels, known)
        except UnusableFile:
            refused += 1
    assert refused > len(whole) * 0.6


def test_a_flipped_bit_that_only_the_chunk_checksum_shows__rejects_wrong_checksum() -> None:
    whole = png(PIXELS, 2, bits=8)
    at = whole.index(b"IDAT") + 4
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    stream = bytearray(zlib.compress(rows, 0)[:-4])  # stored, without zlib's own checksum
    sound = chunk(b"IDAT", bytes(stream))
    stream[40] ^= 1
    flipped = sound[:8] + bytes(stream) + sound[-4:]
    with pytest.raises(UnusableFile, match="damaged"):
        decode_image(whole[: at - 8] + flipped + chunk(b"IEND", b""), HERE)


def test_size_is_checked_before_decoding__rejects_bombs() -> None:
    for width, height in [(100_000, 100_000), (20_000, 20_000), (16_000, 16_000), (40_000, 1)]:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(UnusableFile, match="too large"):
            decode_image(data, HERE)
    with pytest.raises(UnusableFile, match=r"5x6 px; at most 29 pixels"):
        decode_image(encode(COLOUR, "PNG"), HERE, limits=Limits(max_pixels=29))


def test_special_paths_never_hang__rejects_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "big.png").write_bytes(bytes(2000))
    cases = {
        tmp_path / "none.png": "no such file",
        tmp_path: "is a folder",
        tmp_path / "pipe.png": "pipe, socket or device",
        Path("/dev/zero"): "pipe, socket or device",
        tmp_path / "a\0b": "file name",
        tmp_path / ("x" * 300): "cannot be opened",
        tmp_path / "big.png" / "below.png": "cannot be opened",
        tmp_path / "big.png": "too large: 1.953 KiB",
    }
    for path, says in cases.items():
        with pytest.raises(InputError, match=says):
            read_image(path, limits=Limits(max_bytes=1000))


def test_odd_names_stay_on_one_line__rejects_control_characters() -> None:
    with pytest.raises(UnusableFile) as caught:
        decode_image(b"x", Path("a\nb\x1b[31m\udcff.png"))
    assert str(caught.value).isprintable()
    assert r"a\nb\x1b[31m\udcff.png" in str(caught.value)


def test_a_wrong_channel_count__rejects_channels() -> None:
    with pytest.raises(InputError, match="channels is 4"):
        decode_image(encode(COLOUR, "PNG"), HERE, channels=4)


def test_pillow_is_strict_inside_and_as_before_outside__identity_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    filters = list(warnings.filters)
    with strict_pillow():
        with strict_pillow():
            pass
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
        cut = encode(COLOUR, "JPEG")[:-40]
        with pytest.raises(UnusableFile, match="truncated"):
            decode_image(cut, HERE)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert list(warnings.filters) == filters


def test_pillow_warnings_do_not_reach_the_caller__identity_silence() -> None:
    data = bytearray(encode(COLOUR, "PNG", save_all=True, append_images=[GREY.convert("RGB")]))
    at = data.index(b"acTL")
    data[at + 4 : at + 8] = struct.pack(">I", 0)  # zero frames: Pillow warns "Invalid APNG"
    data[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(data[at : at + 12]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.array_equal(as_array(decode_image(bytes(data), HERE)), PIXELS)
    assert caught == []
