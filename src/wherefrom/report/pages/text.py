"""Text for output: file names and other text from outside, escaped; numbers and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherefrom.core.paths import printable

if TYPE_CHECKING:  # `doctor` runs without torch, which the package imports
    from wherefrom.data.files.opening import SkippedFile

# What a spreadsheet takes for the start of a formula, wide forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
MAX_SUFFIXES = 6  # in a line on files that were left out


def csv_text(text: str) -> str:
    """`printable`, with an apostrophe in front of what a spreadsheet would run as a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA_STARTS) else shown


def percent(share: float) -> str:
    """A share in [0, 1] for people, as in `0.5%`."""
    return f"{100 * share:.4g}%"


def left_out(skipped: Sequence[SkippedFile], noun: str = "file") -> str:
    """How many files were left out, the first and why; of several also their suffixes, counted."""
    first = f"{plural(len(skipped), noun)} left out; the first: {skipped[0]}"
    if len(skipped) == 1:
        return first
    suffixes = Counter(file.path.suffix.lower() or "without suffix" for file in skipped)
    counts = [f"{count} {suffix}" for suffix, count in suffixes.most_common(MAX_SUFFIXES)]
    rest = len(skipped) - sum(count for _, count in suffixes.most_common(MAX_SUFFIXES))
    return f"{first} (in all {', '.join(counts)}{f', {rest} more' if rest else ''})"


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `0 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
