"""Strangers' text made harmless: file names may hold anything but a slash and a zero byte."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# What a spreadsheet takes for the start of a formula, wide forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
MAX_SUFFIXES = 6  # in a line on files that were left out
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


def left_out(skipped: Sequence[tuple[Path | str, str]], noun: str = "file") -> str:
    """How many files were left out, the first and why; of several also their suffixes, counted."""
    path, reason = skipped[0]
    first = f"{plural(len(skipped), noun)} left out; the first: {path}: {reason}"
    if len(skipped) == 1:
        return first
    suffixes = Counter(Path(path).suffix.lower() or "without suffix" for path, _ in skipped)
    counts = [f"{count} {suffix}" for suffix, count in suffixes.most_common(MAX_SUFFIXES)]
    rest = len(skipped) - sum(count for _, count in suffixes.most_common(MAX_SUFFIXES))
    return f"{first} (in all {', '.join(counts)}{f', {rest} more' if rest else ''})"


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `0 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
