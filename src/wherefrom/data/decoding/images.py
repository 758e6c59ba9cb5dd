"""Decoding a file's bytes to 8-bit grey or RGB in sRGB, with a note for every change.

Pillow decodes, within bounds: a fixed list of formats, the size checked in the header before any
pixel is decoded, truncated files refused, checksums verified, no warnings.  Metadata that is
damaged or too large is left out first, so that the pixels can still be read.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from wherefrom.core.errors import InputError
from wherefrom.core.limits import FULL_PIXELS, Limits
from wherefrom.data.decoding.colour import (
    Flat,
    flatten,
    flatten_reduced,
    is_deep,
    named_space,
    to_eight_bits,
)
from wherefrom.data.decoding.jpeg_tables import jpeg_quality
from wherefrom.data.decoding.jpeg_traces import jpeg_traces
from wherefrom.data.decoding.losses import (
    few_colours,
    is_lossless,
    quantised,
    repeated_pixels,
    stated_change,
)
from wherefrom.data.decoding.metadata.exif import exif_bytes, values_overlap
from wherefrom.data.decoding.metadata.png_chunks import SoundFile
from wherefrom.data.decoding.metadata.removal import EXIF_LEFT_OUT, bare_jpeg, sound_file
from wherefrom.data.files.kinds import (
    RAW_PREVIEW,
    is_camera_raw,
    kind_of,
    named,
    readable_formats,
    reason_not_read,
    stand_in,
)
from wherefrom.data.files.opening import UnusableFile, show_bytes

# Without a handler, Python prints what Pillow logs about a damaged file to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Strictness:
    """Counts running decoders: the first makes Pillow strict, the last restores its settings."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.caught = warnings.catch_warnings()
        self.truncated = False
        self.max_pixels: int | None = None
        self.printer: Any = None  # what libtiff prints with


_STRICTNESS = _Strictness()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow strict in all threads until the last of them leaves the block.

    `warnings.catch_warnings` changes the whole process, so all threads share one.
    """
    state = _STRICTNESS
    with state.lock:
        if state.users == 0:
            state.caught = warnings.catch_warnings()
            state.caught.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            state.truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            state.max_pixels = Image.MAX_IMAGE_PIXELS
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            Image.MAX_IMAGE_PIXELS = None
            state.printer = _print_tiff_errors_with(None)
        state.users += 1
    try:
        yield
    finally:
        with state.lock:
            state.users -= 1
            if state.users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = state.truncated
                Image.MAX_IMAGE_PIXELS = state.max_pixels
                _print_tiff_errors_with(state.printer)
                state.caught.__exit__(None, None, None)


def _print_tiff_errors_with(printer: Any) -> Any:
    """Set the function with which libtiff prints errors (None: silence); returns the former one.

    libtiff prints errors of damaged files to stderr, and Pillow has no switch for it.
    """
    setter = _tiff_error_setter()
    return None if setter is None else setter(printer)


@cache
def _tiff_error_setter() -> Any:
    """libtiff's `TIFFSetErrorHandler`; None where Pillow's libtiff cannot be reached."""
    try:
        from PIL import _imaging

        setter = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (ImportError, OSError, AttributeError):
        return None
    setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setter


FORMATS = readable_formats()  # HEIF comes on top where pillow-heif is installed
_NAMES = {"MPO": "JPEG"}  # a JPEG with more pictures behind the first, as phones write it
_SLOW_CODECS = ("ppm", "ppm_plain")  # Pillow decodes these in Python, some seconds per megapixel
_MAX_SLOW_PIXELS = 4_000_000
_ORIENTATION = 0x0112
_TILE = {322, 323}  # width and height of a TIFF's tiles
_REDUCTIONS = (2, 4, 8)  # what a JPEG decoder can do by itself
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)
_large = threading.Lock()  # held while an image above FULL_PIXELS is decoded


@dataclass(frozen=True)
class Carrier:
    """The file format that an image came in, and what it may have changed.

    `lossless`: the format returns the pixels that were saved, with 8 bits of each colour.
    `quality`: of a JPEG file, 1 to 100, from its quantisation table.  `size`: height and width in
    the file, upright.  `altered`: what else changed the pixels, as far as the file shows, as
    `a palette of 8 colours`; or "".  Pixels are searched for it only if `losses` was asked for.
    """

    format: str
    lossless: bool
    quality: int | None
    size: tuple[int, int]
    altered: str = ""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded image of Pillow's mode L or RGB, upright, without alpha, perhaps reduced."""

    image: Image.Image
    notes: tuple[str, ...]
    carrier: Carrier


def decode(data: bytes, path: Path, limits: Limits, *, losses: bool = True) -> Decoded:
    """Decode one file; whatever is wrong with it is an `UnusableFile` that names `path`."""
    try:
        with strict_pillow():
            return _decode_with_retry(data, path, limits, losses)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise UnusableFile(path, _unidentified(data)) from error
    except MemoryError as error:
        raise UnusableFile(path, "is damaged, or needs more memory than there is") from error
    except Exception as error:  # Pillow raises whatever hostile bytes provoke
        reason = str(error)[:200] or type(error).__name__
        raise UnusableFile(path, f"is damaged or truncated: {reason}") from error


def _decode_with_retry(data: bytes, path: Path, limits: Limits, losses: bool) -> Decoded:
    if not data:
        raise UnusableFile(path, "is empty (0 bytes)")
    if reason := reason_not_read(data, path.name):
        raise UnusableFile(path, reason)
    file = sound_file(data)
    try:
        return _decode(file, path, limits, losses)
    except (InputError, MemoryError):
        raise
    except Exception:  # perhaps only the metadata of a JPEG is damaged
        bare = bare_jpeg(data)
        if bare is None:
            raise
        decoded = _decode(SoundFile(bare), path, limits, losses)
        return replace(decoded, notes=("metadata damaged, left out", *decoded.notes))


def _decode(file: SoundFile, path: Path, limits: Limits, losses: bool) -> Decoded:
    data, notes = file.data, list(file.notes)
    opened = Image.open(io.BytesIO(data), formats=readable_formats(data))
    _check_size(opened, path, limits)
    kind = _NAMES.get(str(opened.format), str(opened.format))
    if kind == "TIFF" and is_camera_raw(dict(getattr(opened, "tag_v2", {}))):
        raise UnusableFile(path, RAW_PREVIEW)
    lossless, altered = is_lossless(kind, opened, data), quantised(kind, opened, data)
    lossless = lossless and not altered
    quality = jpeg_quality(opened) if kind == "JPEG" else None
    notes += ["first of several frames"] if getattr(opened, "is_animated", False) else []
    notes += ["values scaled to 8 bits"] if _is_scaled(opened) else []
    if kind == "PNG":
        # Decoding alone skips the checksums, and would return wrong pixels in silence.
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
    profile = file.profile or opened.info.get("icc_profile")
    space = "" if profile else named_space(opened, data)
    notes += [space] if space else []
    before = _orientation(opened, notes) if kind == "TIFF" else 1  # loading a TIFF turns it
    size = opened.size
    with _one_at_a_time(size):
        flat, reduced = _pixels(opened, file, path, limits)
    notes += flat.notes
    image, turned = flat.image, before
    if kind != "TIFF":
        turned = _orientation(opened, notes)
        image = image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image
    notes += ["EXIF orientation applied"] if turned in _UPRIGHT else []
    width, height = image.size
    if reduced:
        notes.append(f"read at {width}x{height} px of its {size[0]}x{size[1]}")
        is_swapped = turned in _ON_ITS_SIDE and kind != "TIFF"  # a TIFF states its upright size
        width, height = size[::-1] if is_swapped else size
    altered = altered or flat.altered or stated_change(opened, data, size)
    if losses and lossless and not altered:
        altered = few_colours(image) or repeated_pixels(image) or jpeg_traces(image)
    return Decoded(image, tuple(notes), Carrier(kind, lossless, quality, (height, width), altered))


def _pixels(
    opened: ImageFile.ImageFile, file: SoundFile, path: Path, limits: Limits
) -> tuple[Flat, bool]:
    """The pixels of an opened file, and whether they are fewer than those in the file."""
    factor = _reduction(opened.size)
    width, height = opened.size
    if factor > 1 and is_deep(opened):
        raise UnusableFile(
            path,
            f"has 16 bits per colour and {width}x{height} px; above {FULL_PIXELS} px only images "
            "of 8 bits are read: save it with 8",
        )
    profile = file.profile or opened.info.get("icc_profile")
    flat = partial(flatten, profile=profile, background=limits.background, path=path)
    if factor > 1 and opened.format in ("JPEG", "MPO"):
        opened.draft(None, (width // factor, height // factor))
        opened.load()
        return flat(opened), True
    eight = to_eight_bits(opened, file.data, path)
    flat_image = flatten_reduced(eight.image, factor, flat) if factor > 1 else flat(eight.image)
    notes = (eight.note, *flat_image.notes) if eight.note else flat_image.notes
    altered = flat_image.altered or ("" if eight.exact else "its 16 bits per colour became 8")
    return Flat(flat_image.image, notes, altered), factor > 1


def _reduction(size: tuple[int, int]) -> int:
    pixels = size[0] * size[1]
    if pixels <= FULL_PIXELS:
        return 1
    fitting = [factor for factor in _REDUCTIONS if pixels <= FULL_PIXELS * factor**2]
    return fitting[0] if fitting else _REDUCTIONS[-1]


@contextmanager
def _one_at_a_time(size: tuple[int, int]) -> Iterator[None]:
    """Decode images above `FULL_PIXELS` one after the other: each needs about a GiB."""
    if size[0] * size[1] <= FULL_PIXELS:
        yield
        return
    with _large:
        yield


def _check_size(image: ImageFile.ImageFile, path: Path, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise UnusableFile(
            path,
            f"is too large: {width}x{height} px; at most {limits.max_pixels} pixels "
            f"(--max-pixels) and {limits.max_side} px a side are read",
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
    if reason := stand_in(data):
        return reason
    if kind := kind_of(data):
        return f"is {named(kind)} that is damaged or cut short ({show_bytes(len(data))})"
    if data[4:8] == b"ftyp":
        return f"is a video file, expected {known}; save one of its frames as PNG"
    return f"is not an image, or its header is damaged ({show_bytes(len(data))}); expected {known}"


def _orientation(image: ImageFile.ImageFile, notes: list[str]) -> Any:
    try:
        exif = image.info.get("exif")
        if isinstance(exif, bytes) and values_overlap(exif_bytes(exif)):
            raise ValueError("the values of its EXIF overlap")
        return image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        notes.append(EXIF_LEFT_OUT)
        return 1
