"""Fonts for text that is drawn into a picture: a letter that no font has is written as its number.

A page in HTML or SVG needs none of this, because the reader's own fonts draw it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont

from wherefrom.core.paths import printable

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_NO_LETTER = "\U0010fffd"  # of the area for private use: no font draws it
_SMALLER = 2  # px: DejaVu is wider than Pillow's own font


def font_for(text: str, size: int) -> Font:
    """Pillow's own font for text in ASCII; else DejaVu, which has most alphabets."""
    if all(_draws(char, "", size) for char in text):
        return _font("", size)
    return _font(str(_dejavu()), size - _SMALLER)


def drawable(text: str) -> str:
    r"""`printable`, with every letter that neither font has as its number, as in `\u65e5`."""
    return "".join(
        char
        if _draws(char, "", 15) or _draws(char, str(_dejavu()), 15)
        else char.encode("unicode_escape").decode("ascii")
        for char in printable(text)
    )


@cache
def _font(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@cache
def _dejavu() -> Path:
    import matplotlib as mpl  # its font comes with the package on every system

    return Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@cache
def _draws(char: str, path: str, size: int) -> bool:
    return char.isspace() or _outline(char, path, size) != _outline(_NO_LETTER, path, size)


@cache
def _outline(char: str, path: str, size: int) -> bytes:
    return bytes(_font(path, size).getmask(char))
