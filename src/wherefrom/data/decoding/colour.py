"""Converting colours of an embedded ICC profile to sRGB, by Little CMS (Pillow's ImageCms).

Relative colorimetric with black point compensation, which is what photo editors do by default.
A profile that moves no colour by more than rounding does is sRGB under another name: the pixels
stay as they are, bit for bit.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

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
