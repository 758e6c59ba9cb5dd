"""Results as tables: plain text for terminals and pipes, Markdown for docs, CSV for spreadsheets.

A table holds the result's own values; only the writers round or escape them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.cells import cell_len

from wherefrom.report.pages.text import csv_text, markdown_text, percent, plural, printable

if TYPE_CHECKING:  # importing a question's package imports torch, which `doctor` may lack
    from wherefrom.attribution.checking.explaining import Explanation
    from wherefrom.attribution.evaluation.comparison import ComparisonResult, Series
    from wherefrom.attribution.result import CheckResult, EvaluationResult, SourceRow
    from wherefrom.attribution.together import Together
    from wherefrom.origin.searching.result import RetrievalReport

BYTE_ORDER_MARK = "\ufeff"
Cell: TypeAlias = str | float | int | None


def show_p_value(value: Cell) -> str:
    """Three digits."""
    return f"{value:.3g}"


def show_score(value: Cell) -> str:
    """Four digits."""
    return f"{value:.4g}"


def _percent(value: Cell) -> str:
    return percent(float(value or 0))


CANNOT_SAY = "cannot say"


@dataclass(frozen=True)
class Column:
    """One column: its heading, how its values are shown, whether a terminal may fold them."""

    title: str
    show: Callable[[Any], str] = str
    numeric: bool = False
    folds: bool = False


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


CHECK_COLUMNS = (
    Column("image", folds=True),
    Column("verdict"),
    Column("p-value", show_p_value, numeric=True),
    Column("score", show_score, numeric=True),
    Column("reason", folds=True),
    Column("p-value of the others", show_p_value, numeric=True),
    Column("p-value of siblings", show_p_value, numeric=True),
    Column("digest"),
)
CHECK_SHOWN = ("image", "verdict", "p-value", "score", "reason")


def explanation_table(found: Explanation) -> Table:
    """One row per re-encoding of an image."""
    columns = (
        Column("after"),
        Column("verdict"),
        Column("p-value", show_p_value, numeric=True),
        Column("state of the file"),
    )
    rows = tuple(
        (one.change, str(one.verdict), one.p_value, one.condition) for one in found.reencodings
    )
    return Table(columns, rows)


def check_table(result: CheckResult) -> Table:
    """One row per image; larger score = less likely made by the model."""
    rows = tuple(
        (
            image.name,
            str(image.verdict),
            image.p_value,
            image.score,
            image.reason,
            image.p_other,
            image.p_sibling,
            image.digest,
        )
        for image in result.images
    )
    return Table(CHECK_COLUMNS, rows)


def evaluation_table(result: EvaluationResult) -> Table:
    """The own row first, then one row per other source."""
    verdicts = tuple(result.own.verdicts)
    columns = (
        Column("source"),
        Column("images", numeric=True),
        Column("rejected", _percent, numeric=True),
        Column("95% from", _percent, numeric=True),
        Column("to", _percent, numeric=True),
        Column("accuracy", _percent, numeric=True),
        Column("AUROC", show_score, numeric=True),
        *(Column(verdict, numeric=True) for verdict in verdicts),
    )
    rows = tuple(_source_row(row, verdicts) for row in (result.own, *result.others))
    return Table(columns, rows)


def _source_row(row: SourceRow, verdicts: tuple[str, ...]) -> tuple[Cell, ...]:
    return (
        row.source,
        row.count,
        row.rejected,
        row.low,
        row.high,
        row.accuracy,
        row.auroc,
        *(row.verdicts[verdict] for verdict in verdicts),
    )


def comparison_table(result: ComparisonResult, measure: str) -> Table:
    """One row per method: `accuracy` or `auroc` by source and their mean, in %, ± deviation."""
    titles = ("method", *result.sources, "mean", "own rejected")
    rows = tuple(
        (
            row.title,
            *(_spread(one) for one in getattr(row, measure).values()),
            _spread(getattr(row, f"mean_{measure}")),
            _spread(row.own_rejected),
        )
        for row in result.rows
    )
    return Table(tuple(Column(title, numeric=i > 0) for i, title in enumerate(titles)), rows)


def altered_table(result: ComparisonResult, measure: str) -> Table:
    """One row per method: mean `accuracy` or `auroc` over the sources, by alteration, in %."""
    titles = ("method", *dict.fromkeys(row.alteration for row in result.altered))
    found: dict[str, list[str]] = {}
    for row in result.altered:
        found.setdefault(row.title, []).append(_spread(getattr(row, f"mean_{measure}")))
    rows = tuple((title, *cells) for title, cells in found.items())
    return Table(tuple(Column(title, numeric=i > 0) for i, title in enumerate(titles)), rows)


def comparison_cells(result: ComparisonResult) -> Table:
    """One row per method, alteration and source, unrounded, for spreadsheets."""
    titles = ("accuracy", "accuracy ±", "AUROC", "AUROC ±")
    columns = (
        Column("method"),
        Column("alteration"),
        Column("source"),
        *(Column(title, show_score, numeric=True) for title in titles),
    )
    measured = [("", row) for row in result.rows] + [
        (row.alteration, row) for row in result.altered
    ]
    rows = tuple(
        (row.method, alteration, source, one.mean, one.deviation, area.mean, area.deviation)
        for alteration, row in measured
        for (source, one), area in zip(row.accuracy.items(), row.auroc.values(), strict=True)
    )
    return Table(columns, rows)


def _spread(series: Series) -> str:
    """`97.5 ± 0.3`, both in per cent; without a deviation the mean alone."""
    if not math.isfinite(series.mean):
        return CANNOT_SAY
    mean = f"{100 * series.mean:.1f}"
    return mean if series.deviation is None else f"{mean} ± {100 * series.deviation:.1f}"


def retrieval_table(report: RetrievalReport) -> Table:
    """All queries first, then one row per generating model."""
    depths = tuple(report.rows[0].curve)
    called = report.rows[0].found is not None
    columns = (
        Column("edited by"),
        Column("queries", numeric=True),
        Column("mAP", _percent, numeric=True),
        Column("accuracy", _percent, numeric=True),
        *(Column(f"first {k}", _percent, numeric=True) for k in depths if k > 1),
        *((Column("found", _percent, numeric=True),) if called else ()),
        *((Column("wrong origin", _percent, numeric=True),) if called else ()),
    )
    rows = tuple(
        (
            row.model,
            row.queries,
            row.mean_average_precision,
            row.accuracy,
            *(row.curve[k] for k in depths if k > 1),
            *((row.found, row.wrong) if called else ()),
        )
        for row in report.rows
    )
    return Table(columns, rows)


def count_line(result: CheckResult) -> str:
    """How many images got which verdict, as one line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in result.counts().items())
    noun = "image" if result.together is None else "row"
    return f"{plural(len(result.images), noun)}: {counts}"


def together_line(found: Together) -> str:
    """What the rows of a table say together, as one line."""
    return (
        f"together: {found.rejected} of {plural(found.judged, 'row')} do not fit, "
        f"{found.expected:.3g} would be expected; were all of them made by this model, so many or "
        f"more would be seen with probability {found.p_value:.2g}"
    )


def accuracy_line(result: EvaluationResult) -> str:
    """The headline of an evaluation, as one line."""
    mean = result.mean_accuracy
    said = percent(mean) if math.isfinite(mean) else f"{CANNOT_SAY} (no image has a finite score)"
    return f"mean accuracy over {plural(len(result.others), 'other source')}: {said}"


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


def to_markdown(table: Table) -> str:
    """A Markdown table; text from outside cannot become markup."""
    titles = [column.title for column in table.columns]
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    cells = [[markdown_text(cell) for cell in row] for row in table.shown()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *cells))


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
