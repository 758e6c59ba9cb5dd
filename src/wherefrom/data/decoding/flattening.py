"""Converting Pillow's modes to grey or RGB in sRGB without alpha; large images band by band."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wherefrom.core.limits import Colour
from wherefrom.data.decoding.colour import to_srgb
from wherefrom.data.files.opening import UnusableFile

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
