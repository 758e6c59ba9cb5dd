"""Bounds on image files and images, and the background of transparent pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from wherefrom.core.errors import InputError

Colour = tuple[int, int, int]

MAX_PIXELS, BACKGROUND = "WHEREFROM_MAX_PIXELS", "WHEREFROM_BACKGROUND"
# Above this an image is read at a half, a quarter or an eighth of its size.
FULL_PIXELS = 50_000_000
# Goes up when files are read differently: 2 converts colours to sRGB, 3 finds JPEG traces.
READING = 3
BYTES_PER_PIXEL = 4  # a file that is allowed more pixels may be so much larger


@dataclass(frozen=True)
class Limits:
    """Bounds on what is read, and the sRGB colour that transparent pixels are laid over.

    One image needs up to about 11 bytes of memory per pixel (a PNG with transparency): 2.6 GiB at
    the default limit.
    """

    max_bytes: int = 800 * 2**20
    max_pixels: int = 250_000_000
    max_side: int = 32_768
    max_batch_bytes: int = 64 * 2**30  # a large batch lies in a temporary file
    background: Colour = (255, 255, 255)


DEFAULT_LIMITS = Limits()


def limits_in_force() -> Limits:
    """The limits of this process: the defaults, changed by the two environment variables.

    `WHEREFROM_MAX_PIXELS` is a whole number, `WHEREFROM_BACKGROUND` a colour as `parse_colour`
    takes it; `InputError` for anything else.
    """
    limits = DEFAULT_LIMITS
    stated, colour = os.environ.get(MAX_PIXELS), os.environ.get(BACKGROUND)
    if stated:
        if not (stated.isascii() and stated.isdecimal() and int(stated) > 0):
            raise InputError(f"{MAX_PIXELS} is {stated!r}, expected a whole number of pixels")
        pixels = int(stated)
        limits = replace(
            limits, max_pixels=pixels, max_bytes=max(limits.max_bytes, BYTES_PER_PIXEL * pixels)
        )
    return replace(limits, background=parse_colour(colour)) if colour else limits


def reading_key() -> list[int]:
    """What pixels depend on besides their file; every cache key contains it."""
    return [READING, *limits_in_force().background]


@contextmanager
def reading_with(max_pixels: int | None = None, background: str | None = None) -> Iterator[Limits]:
    """Change the limits inside the block, also of processes started there; None changes nothing."""
    wanted = {MAX_PIXELS: max_pixels, BACKGROUND: background}
    before = {name: os.environ.get(name) for name in wanted}
    try:
        for name, value in wanted.items():
            if value is not None:
                os.environ[name] = str(value)
        yield limits_in_force()
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            if old is not None:
                os.environ[name] = old


def parse_colour(text: str) -> Colour:
    """A colour by its name or as `#rrggbb`; `InputError` for anything else."""
    from PIL import ImageColor  # slow to import

    try:
        red, green, blue, *_ = ImageColor.getrgb(text.strip()[:40])
    except ValueError as error:
        raise InputError(
            f"the background is {text[:40]!r}, expected a colour: white, black, grey or #rrggbb"
        ) from error
    return red, green, blue
