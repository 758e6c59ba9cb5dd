"""Images of any mode as RGB or grey, 16-bit ones too; colours of an ICC profile become sRGB.

Little CMS (Pillow's ImageCms) converts them.
Relative colorimetric with black point compensation, which is what photo editors do by default.
A profile that moves no colour by more than rounding does is sRGB under another name: the pixels
stay as they are, bit for bit.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

from wherefrom.core.limits import Colour
from wherefrom.data.decoding.metadata.exif import exif_bytes, read_fields
from wherefrom.data.decoding.metadata.png_chunks import MAGIC, chunks
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


_PRIMARIES = {1: "sRGB", 4: "BT.470", 5: "PAL", 6: "NTSC", 9: "BT.2020", 11: "DCI P3"}
_PRIMARIES |= {12: "Display P3"}
_CURVES = {8: "linear", 16: "PQ (HDR)", 18: "HLG (HDR)"}
_SRGB_CURVES = (1, 6, 13, 14, 15)  # so close to sRGB's that no note is needed
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_GAMMA = 1 / 2.2
_SPACE = 0xA001  # EXIF tag
_NOT_SRGB = (2, 0xFFFF)


def named_space(image: ImageFile.ImageFile, data: bytes) -> str:
    """A note on the colour space that an opened file without a profile names; "" for sRGB."""
    space = ""
    if data.startswith(MAGIC):
        space = _of_png(image, data)
    elif isinstance(exif := image.info.get("exif"), bytes):
        stated = read_fields(exif_bytes(exif), {_SPACE}).get(_SPACE)
        space = "Adobe RGB or another, by its EXIF," if stated in _NOT_SRGB else ""
    return f"colour space {space} has no profile in the file, not converted" if space else ""


def _of_png(image: ImageFile.ImageFile, data: bytes) -> str:
    for chunk in chunks(data):
        if chunk.name == b"IDAT":
            break
        if chunk.name == b"cICP" and chunk.last - chunk.first == 4:
            primaries, curve = data[chunk.first], data[chunk.first + 1]
            if primaries == 1 and curve in _SRGB_CURVES:
                return ""
            name = _PRIMARIES.get(primaries, f"number {primaries}")
            return f"{name}{f' {_CURVES[curve]}' if curve in _CURVES else ''} (PNG cICP)"
    if "srgb" in image.info:
        return ""
    corners, gamma = image.info.get("chromaticity"), image.info.get("gamma")
    if isinstance(gamma, float) and abs(gamma - _GAMMA) > 0.02:
        return f"of gamma {gamma:.3g} (PNG gAMA)"
    if isinstance(corners, tuple) and any(
        abs(stated - own) > 0.01 for stated, own in zip(corners, _SRGB, strict=False)
    ):
        return "of other primaries than sRGB (PNG cHRM)"
    return ""


MAX_PROFILE = 8 * 2**20
SAME = 2  # levels of 255 by which profiles of sRGB differ from each other
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


@dataclass(frozen=True, eq=False)
class Conversion:
    """The conversion of a profile's colours to sRGB; `transform` None: they are sRGB already."""

    name: str
    transform: ImageCms.ImageCmsTransform | None


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str, str]:
    """An image of mode L, RGB or CMYK in sRGB (L stays L), a note, and the profile's name.

    Note and name are "" where nothing was converted without a reason to say so.
    """
    if not profile:
        return image, "", ""
    try:
        conversion = _conversion(profile, image.mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return image, "colour profile damaged, not applied", ""
    if conversion is None:
        return image, "colour profile of another colour space, not applied", ""
    if conversion.transform is None:
        return image, "", ""
    coloured = image if image.mode == conversion.transform.input_mode else image.convert("RGB")
    converted = conversion.transform.apply(coloured)
    converted.info.clear()
    converted = converted.convert("L") if image.mode == "L" else converted
    return (
        converted,
        f"colours converted from the profile {conversion.name} to sRGB",
        conversion.name,
    )


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str) -> Conversion | None:
    if len(profile) > MAX_PROFILE:
        raise ValueError("the profile is too long")
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space.strip()
    grey_in_colour = mode == "L" and space == "RGB"
    if space != _SPACES[mode] and not grey_in_colour:
        return None
    given = "RGB" if grey_in_colour else mode
    transform = ImageCms.buildTransform(
        opened,
        ImageCms.createProfile("sRGB"),
        given,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if not isinstance(transform, ImageCms.ImageCmsTransform):
        return None
    name = _name(opened)
    if given == "CMYK":
        return Conversion(name, transform)
    probe = _greys().convert(given) if mode == "L" else _colours()
    moved = np.asarray(transform.apply(probe), dtype=np.int16) - np.asarray(probe.convert("RGB"))
    return Conversion(name, None if np.abs(moved).max() <= SAME else transform)


def _greys() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8)[None])


def _colours() -> Image.Image:
    """Every sixteenth level of the three colours, (256, 17, 3) with the last one 255."""
    levels = np.minimum(np.arange(0, 257, 16), 255).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return Image.fromarray(grid.reshape(-1, len(levels), 3))


def _name(profile: ImageCms.ImageCmsProfile) -> str:
    text = ImageCms.getProfileDescription(profile)[:200]
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:60] or "without a name"


_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_CONVERTED = ("CMYK", "YCbCr")  # without a profile, too, other levels than those of RGB
_ROWS = 1024  # of a band; a multiple of every reduction


@dataclass(frozen=True, eq=False)
class Flat:
    """An image of mode L or RGB, notes on its conversion, and what changed its pixels or ""."""

    image: Image.Image
    notes: tuple[str, ...] = ()
    altered: str = ""


def flatten(image: Image.Image, profile: bytes | None, background: Colour, path: Path) -> Flat:
    """A loaded image as L or RGB: palette, profile and alpha applied, in this order."""
    notes = []
    if image.mode in ("P", "PA"):
        notes.append("palette expanded")
    alpha = None
    if "transparency" in image.info or image.mode in _ALPHA:
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if grey else "RGB")
    base = _base(image, path)
    base, note, name = to_srgb(base, profile)
    if base.mode == "CMYK":
        base = base.convert("RGB")
        note = f"CMYK converted; {note}" if note else "CMYK converted"
    notes += [note] if note else []
    source = f"the profile {name}" if name else image.mode if image.mode in _CONVERTED else ""
    altered = f"its colours were converted from {source}" if source else ""
    if alpha is None:
        return Flat(base, tuple(notes), altered)
    if alpha.getextrema() == (255, 255):
        return Flat(base, (*notes, "opaque alpha dropped"), altered)
    over = _over(base, alpha, background)
    shown = "white" if background == (255, 255, 255) else "#{:02x}{:02x}{:02x}".format(*background)
    altered = altered or f"its transparent parts were laid over {shown}"
    return Flat(over, (*notes, f"alpha dropped over {shown}"), altered)


def flatten_reduced(image: Image.Image, factor: int, flat: Callable[[Image.Image], Flat]) -> Flat:
    """Apply `flat` to an image band by band, each band shrunk by `factor`, to save memory."""
    width, height = image.size
    out: Image.Image | None = None
    notes: dict[str, None] = {}
    altered = ""
    for top in range(0, height, _ROWS):
        part = flat(image.crop((0, top, width, min(height, top + _ROWS))))
        small = part.image.reduce(factor)
        if out is None:
            out = Image.new(small.mode, (-(-width // factor), -(-height // factor)))
        out.paste(small, (0, top // factor))
        notes |= dict.fromkeys(part.notes)
        altered = altered or part.altered
    if out is None:
        raise ValueError("it has no rows")
    return Flat(out, tuple(notes), altered)


def _base(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode == "CMYK":
        return image
    if image.mode in ("P", "RGB", "RGBX", "YCbCr"):
        return image.convert("RGB")
    raise UnusableFile(path, f"has the colour space {image.mode}; save it as RGB")


def _over(base: Image.Image, alpha: Image.Image, background: Colour) -> Image.Image:
    red, green, blue = background
    if base.mode == "L" and not red == green == blue:
        base = base.convert("RGB")
    colour = red if base.mode == "L" else background
    behind = Image.new(base.mode, base.size, colour)
    behind.paste(base, mask=alpha)  # (value * a + colour * (255 - a)) / 255, rounded to nearest
    return behind
