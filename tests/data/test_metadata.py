"""Metadata of any size or kind: the pixels are read, what cannot be read is left out and named."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wherefrom.data import UnusableFile
from wherefrom.data.decoding.metadata.exif import read_fields, values_overlap
from wherefrom.data.images.items import decode_image

HERE = Path("picture")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
COLOUR = Image.fromarray(PIXELS)
LONG = b"[" + b"1," * 900_000 + b"1]"


def encode(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    COLOUR.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes, *, sound: bool = True) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body) ^ (not sound))


def png_with(*chunks: bytes, behind: bool = False) -> bytes:
    whole = encode("PNG")
    at = whole.index(b"IEND") - 4 if behind else 33
    return whole[:at] + b"".join(chunks) + whole[at:]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    whole = encode("JPEG", quality=95)
    parts = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments]
    return whole[:2] + b"".join(parts) + whole[2:]


def bomb(entries: int, size: int) -> bytes:
    """A directory whose entries all point at the same bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, entries)
    rows = b"".join(struct.pack("<HHII", 1000 + i, 7, size, 8) for i in range(entries))
    return head + rows + bytes(4) + bytes(size)


ZIPPED = zlib.compress(LONG)
PNG_CASES = {
    "zTXt": chunk(b"zTXt", b"workflow\0\0" + ZIPPED),
    "iTXt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + ZIPPED),
    "plain iTXt": chunk(b"iTXt", b"workflow\0\0\0\0\0" + LONG),
    "plain tEXt": chunk(b"tEXt", b"workflow\0" + LONG),
    "many texts": b"".join(chunk(b"tEXt", b"k%d\0" % i + bytes(900_000)) for i in range(20)),
    "iCCP": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2 * 2**20))),
    "iCCP bomb": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(9 * 2**20))),
    "iCCP method": chunk(b"iCCP", b"p\0\1" + ZIPPED),
    "empty iCCP": chunk(b"iCCP", b""),
    "iCCP no stream": chunk(b"iCCP", b"p\0\0junk"),
    "zTXt method": chunk(b"zTXt", b"k\0\1abc"),
    "zTXt no stream": chunk(b"zTXt", b"k\0\0junk"),
    "wrong checksum": chunk(b"tEXt", b"k\0v", sound=False),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "short cHRM": chunk(b"cHRM", b"\0" * 8),
    "eXIf bomb": chunk(b"eXIf", bomb(5_000, 500_000)),
    "huge eXIf": chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0" + bytes(3 * 2**20)),
    "unknown": chunk(b"prVt", bytes(3 * 2**20)),
    "many": chunk(b"tEXt", b"k\0v") * 9_000,
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("case", PNG_CASES)
def test_no_metadata_costs_a_png_its_pixels__closed_form(case: str, behind: bool) -> None:
    begun = time.process_time()
    read = decode_image(png_with(PNG_CASES[case], behind=behind), HERE)
    assert np.array_equal(read.pixels.permute(1, 2, 0).numpy(), PIXELS)
    assert any("metadata left out" in n or "profile" in n for n in read.notes)
    assert all(note.isprintable() and len(note) < 300 for note in read.notes)
    assert time.process_time() - begun < 2


def test_sound_metadata_makes_no_note__identity_plain() -> None:
    data = png_with(chunk(b"tEXt", b"k\0v"), chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"v")))
    assert decode_image(data, HERE).notes == ()


def test_the_picture_itself_stays_checked__rejects_wrong_checksum() -> None:
    whole = bytearray(png_with(PNG_CASES["zTXt"]))
    whole[whole.index(b"IDAT") + 12] ^= 1
    with pytest.raises(UnusableFile, match="damaged"):
        decode_image(bytes(whole), HERE)


@pytest.mark.parametrize(
    "segments",
    [
        [(0xE1, b"Exif\0\0" + b"II*\0\xff\xff\xff\xff")],
        [(0xE1, b"Exif\0\0" + bomb(1_000, 50_000))],
        [(0xE1, b"Exif\0\0junk")],
        [(0xE2, b"MPF\0" + b"II*\0\x08\0\0\0\x01\0")],
        [(0xE2, b"ICC_PROFILE\0\1\2" + bytes(400)), (0xE2, b"ICC_PROFILE\0\1\2" + bytes(9))],
        [(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0")],
        [(0xFE, b"comment" * 9_000)] * 40,
        [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<" * 60_000)],
    ],
)
def test_no_metadata_costs_a_jpeg_its_pixels__identity_plain(
    segments: list[tuple[int, bytes]],
) -> None:
    plain = decode_image(jpeg_with(), HERE)
    read = decode_image(jpeg_with(*segments), HERE)
    assert np.array_equal(read.pixels.numpy(), plain.pixels.numpy())


@pytest.mark.parametrize("exif", [b"junk", bomb(2_000, 60_000)])
def test_damaged_exif_costs_no_webp_its_pixels__closed_form(exif: bytes) -> None:
    read = decode_image(encode("WEBP", exif=b"Exif\0\0" + exif, lossless=True), HERE)
    assert np.array_equal(read.pixels.permute(1, 2, 0).numpy(), PIXELS)
    assert read.notes == ("EXIF damaged, orientation unknown",)


@pytest.mark.parametrize("head", [b"P6 #%s\n5 6 255\n", b"P6\n5 #%s\n6\n#a\n255\n"])
def test_a_long_comment_in_a_ppm_costs_no_time__closed_form(head: bytes) -> None:
    begun = time.process_time()
    data = head % (b"x" * 2**22) + PIXELS.tobytes()
    assert np.array_equal(decode_image(data, HERE).pixels.permute(1, 2, 0).numpy(), PIXELS)
    assert time.process_time() - begun < 1


def test_exif_of_an_avif_file_is_bounded__rejects_bombs() -> None:
    sound = Image.Exif()
    sound[0x0131] = "Painter"
    assert decode_image(encode("AVIF", exif=sound), HERE).notes == ()
    whole = encode("AVIF")
    with pytest.raises(UnusableFile, match="overlap"):
        decode_image(whole + bomb(3_000, 60_000), HERE)


def test_directories_that_fill_the_memory__rejects_bombs() -> None:
    data = bomb(9_000, 2**20)
    assert values_overlap(data)
    with pytest.raises(UnusableFile, match="overlap"):
        decode_image(data, HERE)


def test_fields_are_read_as_pillow_reads_them__reference_pillow() -> None:
    exif = Image.Exif()
    exif[0x0131], exif[0x0112] = "Painter", 6
    exif.get_ifd(0x8769)[0xA002] = 70_000
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0hello"
    data = exif.tobytes()[6:]
    fields = read_fields(data, {0x0131, 0x0112, 0xA002, 0x9286})
    assert fields == {
        0x0131: b"Painter\0", 0x0112: 6, 0xA002: 70_000, 0x9286: b"ASCII\0\0\0hello",
    }  # fmt: skip
    assert not values_overlap(data)
    for length in range(len(data)):
        assert set(read_fields(data[:length], {0x0131})) <= {0x0131}
        values_overlap(data[:length])


def test_orientation_survives_metadata_that_is_left_out__closed_form() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode("PNG", exif=exif)
    data = data[:33] + PNG_CASES["zTXt"] + data[33:]
    read = decode_image(data, HERE)
    assert np.array_equal(read.pixels.permute(1, 2, 0).numpy(), np.rot90(PIXELS, -1))


def test_random_directories_never_hang__rejects_damage() -> None:
    source = np.random.default_rng(1)
    for _ in range(300):
        data = b"II*\0" + struct.pack("<I", 8) + bytes(source.integers(0, 256, 200, dtype=np.uint8))
        read_fields(data, {0x0131})
        values_overlap(data)


def test_what_was_left_out_is_said_to_a_program__closed_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages: list[str] = []
    monkeypatch.setattr("wherefrom.data.images.items.add_note", messages.append)
    decode_image(png_with(PNG_CASES["zTXt"]), HERE)
    decode_image(png_with(), HERE)
    assert messages == ["among the images read: metadata left out: workflow is longer than 1 MiB"]
