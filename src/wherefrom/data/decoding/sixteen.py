"""Rounding 16-bit images to 8 bits; Pillow would cut off the low byte."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from wherefrom.data.files.opening import UnusableFile

Bytes = NDArray[np.uint8]

ROUNDED = "16-bit reduced to 8"
CUT = "16-bit cut to 8"
_BAND_ROWS = 256  # rows per step, so that int16 scratch memory stays small
_BITS, _PHOTOMETRIC, _PLANAR = 258, 262, 284  # TIFF tags
_WHITE_IS_ZERO, _PLANES_APART = 0, 2
# Read with the other byte order, Pillow's "keep the high byte" keeps the low byte instead.
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_PLAIN_MODES = ("RGB", "RGBA", "RGBX", "CMYK")


def nearest_bytes(high: Bytes, low: Bytes) -> Bytes:
    """round(v / 257) of v = 256 high + low, exactly, for uint8 arrays of one shape (H, ...).

    v / 257 = high + (low - high) / 257, and the fraction never is one half, as 257 is odd.
    """
    out = high.copy()
    for top in range(0, high.shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        gap = low[rows].astype(np.int16) - high[rows]
        out[rows] += (gap >= 129).astype(np.uint8)
        out[rows] -= (gap <= -129).astype(np.uint8)
    return out


@dataclass(frozen=True, eq=False)
class EightBits:
    """An image of one of Pillow's 8-bit modes; `note` if it had 16 bits.

    `exact`: its 16 bits were 8 bits written twice or followed by zeros, so that nothing is lost.
    """

    image: Image.Image
    note: str = ""
    exact: bool = True


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an opened image, not yet loaded, has 16 bits per colour."""
    deep = image.mode == "I" or image.mode.startswith("I;16")
    return deep or any(";16" in _rawmode(tile.args) for tile in image.tile)


def to_eight_bits(image: ImageFile.ImageFile, data: bytes, path: Any) -> EightBits:
    """Load an opened image as one of Pillow's 8-bit modes.

    Transparency by a 16-bit key colour becomes an alpha channel: 8 bits cannot hold the key.
    Modes without a defined white (floating point, 32-bit integers) raise `UnusableFile`.
    """
    _refuse_undefined(image, path)
    tiles = list(image.tile)
    raw = [_rawmode(tile.args) for tile in tiles]
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_grey(image)
    if not any(";16" in name for name in raw):
        image.load()
        return EightBits(image)
    if raw == ["LA;16B"]:
        image.tile = [tiles[0]._replace(args="RGBA")]  # L high, L low, A high, A low
        image.load()
        four = np.asarray(image)
        values, exact = _reduced(four[..., 0::2], four[..., 1::2])
        return EightBits(Image.fromarray(values, "LA"), ROUNDED, exact)
    image.load()
    if not all(name.split(";")[0] in _PLAIN_MODES for name in raw):
        return EightBits(image, CUT, exact=False)
    return _from_colour(image, data, tiles)


def _reduced(high: Bytes, low: Bytes) -> tuple[Bytes, bool]:
    """8 bits of 16, and whether they were 8 bits before: v * 257 or v * 256."""
    if np.array_equal(high, low) or not low.any():
        return high.copy(), True
    return nearest_bytes(high, low), False


def _refuse_undefined(image: ImageFile.ImageFile, path: Any) -> None:
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (8,))
    if image.mode == "F":
        raise UnusableFile(path, "holds floating-point pixels without a defined white; save as PNG")
    if image.format == "TIFF" and image.mode == "I":
        raise UnusableFile(path, "holds signed or 32-bit integer pixels; save it as PNG")
    if image.mode.startswith("I;16") and bits not in ((16,), (8,)):
        raise UnusableFile(path, f"holds {bits[0]}-bit pixels, expected 8 or 16; save it as PNG")
    if bits[0] > 8 and tags.get(_PLANAR) == _PLANES_APART:
        raise UnusableFile(path, "stores 16-bit colours as separate planes; save it as PNG")


def _from_grey(image: ImageFile.ImageFile) -> EightBits:
    key = image.info.get("transparency")
    values = np.asarray(image).astype(np.uint16)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = np.uint16(65535) - values
    eight, exact = _reduced((values >> 8).astype(np.uint8), (values & 255).astype(np.uint8))
    grey = Image.fromarray(eight, "L")
    if isinstance(key, int):
        grey.putalpha(_alpha(values == key))
    return EightBits(grey, ROUNDED, exact)


def _from_colour(image: Image.Image, data: bytes, tiles: Sequence[Any]) -> EightBits:
    again = Image.open(io.BytesIO(data), formats=[str(image.format)])
    again.tile = [tile._replace(args=_other_order(tile.args)) for tile in tiles]
    again.load()
    high, low = np.asarray(image), np.asarray(again)
    eight, exact = _reduced(high, low)
    rounded = Image.fromarray(eight, image.mode)
    key = image.info.get("transparency")
    if isinstance(key, tuple) and len(key) == high.shape[-1]:
        same = np.ones(high.shape[:2], dtype=bool)
        for band, value in enumerate(key):
            same &= (high[..., band] == value >> 8) & (low[..., band] == value & 255)
        rounded.putalpha(_alpha(same))
    return EightBits(rounded, ROUNDED, exact)


def _alpha(transparent: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8), "L")


def _rawmode(args: Any) -> str:
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _other_order(args: Any) -> Any:
    mode, _, order = _rawmode(args).partition(";")
    swapped = f"{mode};{_OTHER_ORDER[order]}"
    return (swapped, *args[1:]) if isinstance(args, tuple) else swapped
