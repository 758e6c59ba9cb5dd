"""Signs in a file that its pixels were changed after the model produced them.

An image saved without loss has exactly the model's pixels, and error rates are promised for such
images only.  Lossy codecs, palettes, fewer bits, converted colours and scaling change pixels; the
functions here find the traces of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from wherefrom.data.decoding.metadata.exif import IMAGE, exif_bytes, read_fields

LOSSY = ("JPEG", "AVIF", "HEIF", "JXL", "JPEG2000")
_LOSSLESS_TIFF = (
    "raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd",
    "group3", "group4", "tiff_ccitt", "tiff_raw_16", "tiff_thunderscan",
)  # fmt: skip
_BITS = 258  # TIFF tag
_COMMENT, _WIDTH, _HEIGHT, _SOFTWARE, _TITLE = 0x9286, 0xA002, 0xA003, 0x0131, 0x9C9B
_SHOT_PROGRAM = re.compile(
    r"screen.?(shot|capture|clip)|flameshot|spectacle|greenshot|lightshot|sharex|ksnip|snagit"
    r"|snipping|\bmaim\b|\bscrot\b|\bgrim\b",
    re.IGNORECASE,
)
_SHOT_TITLE = re.compile(
    r"\s*screen.?(shot|capture)(s|\W|\d|_|\b(from|of|at|on|am|pm|the|entire|whole|screen|window"
    r"|desktop|taken|with|by|gnome|kde|android|ios|macos|windows)\b)*\s*",
    re.IGNORECASE,
)
_RAMP = [level for level in range(256) for _ in "RGB"]
MAX_COLOURS, MAX_GREYS = 256, 64
MIN_REPEATED = 4  # px on a side of the smaller image
COLOUR_SHARE, GREY_SHARE = 4, 8  # pixels per colour from which on few colours are a palette's


def is_lossless(kind: str, image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether the compression of an opened file gives back the pixels that were put in."""
    if kind == "WEBP":
        return _first_webp_frame(data) == b"VP8L"
    if kind == "TIFF":
        return image.info.get("compression") in _LOSSLESS_TIFF
    return kind not in LOSSY


def quantised(kind: str, image: ImageFile.ImageFile, data: bytes) -> str:
    """Says that an opened file holds fewer levels than 8 bits per colour, and why, or "".

    A palette of all 256 greys holds every grey image as it is.
    """
    if image.mode in ("P", "PA"):
        palette = image.getpalette("RGB") or []
        if sorted(palette) == _RAMP and palette[::3] == palette[1::3] == palette[2::3]:
            return ""
        return f"a palette of {max(1, len(palette) // 3)} colours"
    if kind == "GIF" and not _gif_has_all_greys(image, data):
        return "the palette of a GIF file"
    bits = _bits_per_colour(kind, image, data)
    return f"{bits} bit{'s' if bits > 1 else ''} per colour" if bits < 8 else ""


def few_colours(image: Image.Image) -> str:
    """Says that an image of mode L or RGB has so few colours that it had a palette, or ""."""
    colours = image.getcolors(MAX_COLOURS)
    if colours is None or len(colours) < 2:
        return ""
    grey = all(isinstance(c, int | float) or c[0] == c[1] == c[2] for _, c in colours)
    limit, share = (MAX_GREYS, GREY_SHARE) if grey else (MAX_COLOURS, COLOUR_SHARE)
    pixels = image.size[0] * image.size[1]
    if len(colours) > limit or len(colours) * share > pixels:
        return ""
    return f"only {len(colours)} {'greys' if grey else 'colours'}, as a palette leaves them"


def repeated_pixels(image: Image.Image) -> str:
    """Says that an image of mode L or RGB was enlarged by repeating its pixels, or ""."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    for factor in (2, 3, 4, 5):
        if height % factor or width % factor or min(height, width) < MIN_REPEATED * factor:
            continue
        small = pixels[::factor, ::factor]
        if (small != small[:1, :1]).any() and _repeats(pixels, small, factor):
            return f"every pixel is repeated {factor} times, as enlarging leaves them"
    return ""


def _repeats(pixels: NDArray[np.uint8], small: NDArray[np.uint8], factor: int) -> bool:
    """Row by row, as most images fail at the first."""
    for row in range(len(small)):
        wide = small[row].repeat(factor, axis=0)
        if (pixels[row * factor : (row + 1) * factor] != wide).any():
            return False
    return True


def stated_change(image: Image.Image, data: bytes, size: tuple[int, int]) -> str:
    """Says which change of an image of `size` (either order) its metadata states, or "".

    `data` is the file, since the metadata of a TIFF is part of it.
    """
    for name in image.info:
        if isinstance(name, str) and name.startswith("jpeg:"):  # ImageMagick, of its source
            return "its metadata is that of a JPEG file"
    fields = read_fields(_exif(image, data), {IMAGE, _COMMENT, _SOFTWARE, _WIDTH, _HEIGHT, _TITLE})
    width, height = fields.get(_WIDTH), fields.get(_HEIGHT)
    stated = [side for side in (width, height) if isinstance(side, int) and side]
    if len(stated) == 2 and sorted(stated) != sorted(size):
        return f"its EXIF says {stated[0]}x{stated[1]} px, so that it was scaled or cropped"
    programs = (fields.pop(_SOFTWARE, None), image.info.get("Software"), image.info.get("software"))
    titles = (*fields.values(), *_texts(image.info))
    if any(_is_screenshot(value, is_program=True) for value in programs) or any(
        _is_screenshot(value, is_program=False) for value in titles
    ):
        return "its metadata says that it is a screenshot"
    return ""


def _is_screenshot(value: object, *, is_program: bool) -> bool:
    """Whether a text names a screenshot: a program, or a title with at most a time and a place.

    A prompt may speak of a screenshot, too.
    """
    if isinstance(value, bytes):
        value = value[:400].replace(b"\0", b"").decode("latin-1")
        value = value.removeprefix("ASCII").removeprefix("UNICODE")
    if not isinstance(value, str):
        return False
    return bool((_SHOT_PROGRAM.search if is_program else _SHOT_TITLE.fullmatch)(value[:400]))


def _texts(info: Mapping[Any, Any]) -> list[object]:
    return [info.get(name) for name in ("Title", "Comment", "Description", "comment", "Source")]


def _exif(image: Image.Image, data: bytes) -> bytes:
    if image.format == "TIFF":
        return data
    exif = image.info.get("exif")
    return exif_bytes(exif) if isinstance(exif, bytes) else b""


def _gif_has_all_greys(image: ImageFile.ImageFile, data: bytes) -> bool:
    # Pillow opens a GIF as grey where its colours are 0, 1, 2 ...; 256 of them are all.
    return image.mode == "L" and len(data) > 10 and data[10] & 0x87 == 0x87


def _bits_per_colour(kind: str, image: ImageFile.ImageFile, data: bytes) -> int:
    if image.mode == "1":
        return 1
    if kind == "PNG":
        return data[24]
    if kind == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS, (8,))
        return min((int(b) for b in bits), default=8) if isinstance(bits, tuple) else 8
    if kind == "BMP" and int.from_bytes(data[28:30], "little") == 16:
        return 5
    if kind == "PPM" and image.tile and isinstance(args := image.tile[0].args, tuple):
        brightest = args[-1] if isinstance(args[-1], int) else 255
        return brightest.bit_length() if 0 < brightest < 255 else 8
    return 8


def _first_webp_frame(data: bytes) -> bytes:
    """The name of the first chunk with pixels: VP8L is lossless, `VP8 ` is not."""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name
        # An animation frame holds chunks of its own behind 16 bytes of position and timing.
        at += 8 + (16 if name == b"ANMF" else size + size % 2)
    return b""
