"""Results as text and tables: plain for terminals and pipes, CSV for spreadsheets.

A table holds the result's own values; only the writers round or escape them.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.cells import cell_len

from wherefrom.core.paths import printable

if TYPE_CHECKING:
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


BYTE_ORDER_MARK = "\ufeff"
Cell: TypeAlias = str | float | int | None


def show_p_value(value: Cell) -> str:
    """Three digits."""
    return f"{value:.3g}"


def show_score(value: Cell) -> str:
    """Four digits."""
    return f"{value:.4g}"


CANNOT_SAY = "cannot say"


@dataclass(frozen=True)
class Column:
    """One column: its heading, how its values are shown, whether a terminal may fold them."""

    title: str
    show: Callable[[Any], str] = str
    numeric: bool = False
    folds: bool = False


def number(title: str) -> Column:
    """A column of numbers with four digits."""
    return Column(title, show_score, numeric=True)


def rounded_share(value: Cell) -> str:
    """A share as a percentage with at most two decimals; an empty cell as 0."""
    return percent(round(float(value or 0), 4))


_KINDS: dict[str, dict[str, Any]] = {
    "": {},
    "text": {"folds": True},
    "int": {"numeric": True},
    "num": {"show": show_score, "numeric": True},
    "p": {"show": show_p_value, "numeric": True},
    "%": {"show": percent, "numeric": True},
    "share": {"show": rounded_share, "numeric": True},
}


def columns_of(heading: str) -> tuple[Column, ...]:
    """Columns by their titles, which | separates, each with its kind after a colon.

    Without a kind a cell is a word.  `text` may be folded; `int` and `num` are numbers, as they are
    and with four digits; `p` has three; `%` and `share` are percentages, the latter rounded.
    """
    pairs = (each.strip().partition(":") for each in heading.split("|"))
    return tuple(Column(title, **_KINDS[kind]) for title, _, kind in pairs)


@dataclass(frozen=True)
class Table:
    """Headings and rows of raw values; None, NaN and infinity are empty cells.

    Why a number is missing stands in a column or note beside it.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def shown(self) -> list[list[str]]:
        """The cells as printable text without escapes of any format."""
        return [
            [
                "" if _is_empty(cell) else printable(column.show(cell))
                for column, cell in zip(self.columns, row, strict=True)
            ]
            for row in self.rows
        ]

    def select(self, *titles: str) -> Table:
        """The same rows with these columns only, in this order."""
        places = [[column.title for column in self.columns].index(title) for title in titles]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in places),
            rows=tuple(tuple(row[place] for place in places) for row in self.rows),
        )


def to_plain(table: Table, *, heading: bool = True) -> str:
    """Aligned columns, two spaces apart, never shortened; lines end without spaces."""
    titles = [[column.title for column in table.columns]] if heading else []
    grid = [*titles, *table.shown()]
    widths = [max(map(cell_len, cells)) for cells in zip(*grid, strict=True)]
    lines = [
        "  ".join(
            _pad(cell, width, column.numeric)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in grid
    ]
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """CSV with unrounded numbers, for a file; text from outside cannot become a formula.

    With letters beyond ASCII it begins with a byte-order mark, without which spreadsheets take it
    for text in the system's own encoding and show other names.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(column.title for column in table.columns)
    for row in table.rows:
        writer.writerow(_csv_cell(cell) for cell in row)
    text = buffer.getvalue()
    return text if text.isascii() else BYTE_ORDER_MARK + text


def _is_empty(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and not math.isfinite(cell))


def _csv_cell(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return csv_text(cell)
    return None if _is_empty(cell) else cell


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space
