"""From a file's bytes to 8-bit grey or RGB, with a note for every change on the way.

Pillow decodes; this module bounds what it may do: a fixed list of formats, the size checked in the
header before any pixel is decoded, truncated files refused, checksums verified, no warnings.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from wherefrom.core.errors import InputError
from wherefrom.data.files import UnusableFile, show_bytes
from wherefrom.data.jpeg_quality import jpeg_quality
from wherefrom.data.sixteen import to_eight_bits

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_NAMES = {"MPO": "JPEG"}  # a JPEG with more pictures behind the first, as phones write it
_LOSSLESS_TIFF = (
    "raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd",
    "group3", "group4", "tiff_ccitt", "tiff_raw_16", "tiff_thunderscan",
)  # fmt: skip
_SLOW_CODECS = ("ppm", "ppm_plain")  # Pillow decodes these in Python, some seconds per megapixel
_MAX_SLOW_PIXELS = 4_000_000
_ORIENTATION = 0x0112
_TILE = {322, 323}  # width and height of a TIFF's tiles
# Without a handler, Python prints what Pillow logs about a damaged file to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """What is read at most.  The defaults keep one image below about 1 GiB of memory."""

    max_bytes: int = 200 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 32_768
    max_batch_bytes: int = 4 * 2**30


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Decoded:
    """`image` is of Pillow's mode L or RGB, upright, without alpha.

    `quality` is that of a JPEG file, 1 to 100, read off its quantisation table.
    """

    image: Image.Image
    format: str
    lossless: bool
    notes: tuple[str, ...]
    quality: int | None = None


def decode(data: bytes, path: Path, limits: Limits) -> Decoded:
    """Decode one file; whatever is wrong with it is an `UnusableFile` that names `path`."""
    try:
        with strict_pillow():
            return _decode(data, path, limits)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise UnusableFile(path, _unidentified(data)) from error
    except Image.DecompressionBombError as error:
        raise UnusableFile(path, f"is too large: over {limits.max_pixels} pixels") from error
    except MemoryError as error:
        raise UnusableFile(path, "is damaged, or needs more memory than there is") from error
    except Exception as error:  # Pillow raises whatever hostile bytes provoke
        reason = str(error)[:200] or type(error).__name__
        raise UnusableFile(path, f"is damaged or truncated: {reason}") from error


def _decode(data: bytes, path: Path, limits: Limits) -> Decoded:
    if not data:
        raise UnusableFile(path, "is empty (0 bytes)")
    opened = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(opened, path, limits)
    kind = _NAMES.get(str(opened.format), str(opened.format))
    lossless = _is_lossless(kind, opened, data)
    quality = jpeg_quality(opened) if kind == "JPEG" else None
    notes = ["first of several frames"] if getattr(opened, "is_animated", False) else []
    notes += ["values scaled to 8 bits"] if _is_scaled(opened) else []
    if kind == "PNG":
        # Decoding alone skips the checksums, and would return wrong pixels in silence.
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
    turned = _orientation(opened, notes) if kind == "TIFF" else 1  # loading a TIFF turns it
    image, note = to_eight_bits(opened, data, path)
    notes += [note] if note else []
    image = _without_alpha(image, notes, path)
    if kind == "TIFF":
        notes += ["EXIF orientation applied"] if turned in _UPRIGHT else []
    elif (turned := _orientation(opened, notes)) in _UPRIGHT:
        image = image.transpose(_UPRIGHT[turned])
        notes.append("EXIF orientation applied")
    return Decoded(image, kind, lossless, tuple(notes), quality)


def _check_size(image: ImageFile.ImageFile, path: Path, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise UnusableFile(
            path,
            f"is too large: {width}x{height} px; at most {limits.max_pixels} pixels "
            f"and {limits.max_side} px a side are read",
        )
    tags = getattr(image, "tag_v2", {})  # a TIFF of one pixel may lie in a tile of gigabytes
    if tags.keys() >= _TILE and math.prod(tags[tag] for tag in _TILE) > limits.max_pixels:
        raise UnusableFile(path, f"is too large: its tiles hold over {limits.max_pixels} pixels")
    if width * height > _MAX_SLOW_PIXELS and _is_slow(image):
        raise UnusableFile(
            path, f"is a {width}x{height} px PPM of text or unusual depth; save it as PNG"
        )


def _is_scaled(image: ImageFile.ImageFile) -> bool:
    if not _is_slow(image) or image.mode not in ("L", "RGB"):
        return False
    args = image.tile[0].args
    return isinstance(args, tuple) and args[-1] != 255


def _is_slow(image: ImageFile.ImageFile) -> bool:
    return any(tile.codec_name in _SLOW_CODECS for tile in image.tile)


def _unidentified(data: bytes) -> str:
    known = ", ".join(FORMATS)
    if data[4:8] == b"ftyp":
        return f"is a HEIF, AVIF or video file, expected {known}; convert it to PNG"
    return f"is not an image, or its header is damaged ({show_bytes(len(data))}); expected {known}"


def _without_alpha(image: Image.Image, notes: list[str], path: Path) -> Image.Image:
    if image.mode in ("P", "PA"):
        notes.append("palette expanded")
    if image.mode == "CMYK":
        notes.append("CMYK converted")
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        grey = image.mode in ("1", "L", "LA", "La")
        return _over_white(image.convert("LA" if grey else "RGBA"), notes)
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode in ("P", "RGB", "RGBX", "CMYK", "YCbCr"):
        return image.convert("RGB")
    raise UnusableFile(path, f"has the colour space {image.mode}; save it as RGB")


def _over_white(image: Image.Image, notes: list[str]) -> Image.Image:
    alpha = image.getchannel("A")
    base = image.convert(image.mode[:-1])
    if alpha.getextrema() == (255, 255):
        notes.append("opaque alpha dropped")
        return base
    notes.append("alpha dropped over white")
    white = Image.new(base.mode, base.size, "white")
    white.paste(base, mask=alpha)  # (value * a + 255 * (255 - a)) / 255, rounded to nearest
    return white


def _orientation(image: ImageFile.ImageFile, notes: list[str]) -> Any:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        notes.append("EXIF damaged, orientation unknown")
        return 1


def _is_lossless(kind: str, image: ImageFile.ImageFile, data: bytes) -> bool:
    if kind == "WEBP":
        return _first_webp_frame(data) == b"VP8L"
    if kind == "TIFF":
        return image.info.get("compression") in _LOSSLESS_TIFF
    return kind != "JPEG"


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


class _Strictness:
    """How many decoders run now; the first switches Pillow to strict, the last switches it back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.caught = warnings.catch_warnings()
        self.truncated = False


_STRICTNESS = _Strictness()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Pillow without warnings and without tolerance for truncated files, in all threads at once.

    `warnings.catch_warnings` changes the whole process, so threads share one instead of racing.
    """
    state = _STRICTNESS
    with state.lock:
        if state.users == 0:
            state.caught = warnings.catch_warnings()
            state.caught.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            state.truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        state.users += 1
    try:
        yield
    finally:
        with state.lock:
            state.users -= 1
            if state.users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = state.truncated
                state.caught.__exit__(None, None, None)
