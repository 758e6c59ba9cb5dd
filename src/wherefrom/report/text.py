"""Strangers' text made harmless: file names may hold anything but a slash and a zero byte."""

from __future__ import annotations

import re

# What a spreadsheet takes for the start of a formula, wide forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|~!&])")


def printable(text: str) -> str:
    r"""The text as one line: control, format and undecodable characters as `\x1b` or `\u202e`."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def csv_text(text: str) -> str:
    """`printable`, with an apostrophe in front of what a spreadsheet would run as a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA_STARTS) else shown


def markdown_text(text: str) -> str:
    """`printable`, with everything escaped that Markdown or HTML would interpret."""
    return _MARKDOWN.sub(r"\\\1", printable(text))


def percent(share: float) -> str:
    """A share in [0, 1] for people, as in `0.5%`."""
    return f"{100 * share:.4g}%"


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `0 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
