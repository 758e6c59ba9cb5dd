"""Verdicts, evaluations and comparisons of attribution as tables, and each in one line."""

from __future__ import annotations

import math

from wherefrom.attribution.checking.explaining import Explanation
from wherefrom.attribution.evaluation.comparison import ComparisonResult, Series
from wherefrom.attribution.result import CheckResult, EvaluationResult, SourceRow, Together
from wherefrom.core.paths import printable
from wherefrom.report.pages.tables import (
    CANNOT_SAY,
    Cell,
    Column,
    Table,
    columns_of,
    number,
    percent,
    plural,
)

CHECK_COLUMNS = columns_of(
    "image:text | verdict | p-value:p | score:num | reason:text | p-value of the others:p | "
    "p-value of siblings:p | digest"
)
SHOWN = 10  # images left out of a source, of which the first are named
CHECK_SHOWN = ("image", "verdict", "p-value", "score", "reason")


def explanation_table(explanation: Explanation) -> Table:
    """One row per re-encoding of an image."""
    columns = columns_of("after | verdict | p-value:p | state of the file")
    rows = tuple(
        (again.change, str(again.verdict), again.p_value, again.condition)
        for again in explanation.reencodings
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
        *columns_of(
            "source | images:int | rejected:% | 95% from:% | to:% | accuracy:% | AUROC:num"
        ),
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
            *(_spread(series) for series in getattr(row, measure).values()),
            _spread(getattr(row, f"mean_{measure}")),
            _spread(row.own_rejected),
        )
        for row in result.rows
    )
    return Table(tuple(Column(title, numeric=i > 0) for i, title in enumerate(titles)), rows)


def altered_table(result: ComparisonResult, measure: str) -> Table:
    """One row per method: mean `accuracy` or `auroc` over the sources, by alteration, in %."""
    titles = ("method", *dict.fromkeys(row.alteration for row in result.altered))
    cells_by_method: dict[str, list[str]] = {}
    for row in result.altered:
        cells_by_method.setdefault(row.title, []).append(_spread(getattr(row, f"mean_{measure}")))
    rows = tuple((title, *cells) for title, cells in cells_by_method.items())
    return Table(tuple(Column(title, numeric=i > 0) for i, title in enumerate(titles)), rows)


def comparison_cells(result: ComparisonResult) -> Table:
    """One row per method, alteration and source, unrounded, for spreadsheets."""
    titles = ("accuracy", "accuracy ±", "AUROC", "AUROC ±")
    columns = (*columns_of("method | alteration | source"), *(number(title) for title in titles))
    return Table(columns, tuple(tuple(row.values()) for row in result.to_rows()))


def _spread(series: Series) -> str:
    """`97.5 ± 0.3`, both in per cent; without a deviation the mean alone."""
    if not math.isfinite(series.mean):
        return CANNOT_SAY
    mean = f"{100 * series.mean:.1f}"
    return mean if series.deviation is None else f"{mean} ± {100 * series.deviation:.1f}"


def count_line(result: CheckResult) -> str:
    """How many images got which verdict, as one line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in result.counts().items())
    noun = "image" if result.together is None else "row"
    return f"{plural(len(result.images), noun)}: {counts}"


def together_line(together: Together) -> str:
    """What the rows of a table say together, as one line."""
    return (
        f"together: {together.rejected} of {plural(together.samples, 'row')} do not fit, "
        f"{together.expected:.3g} would be expected; were all of them made by this model, so many "
        f"or more would be seen with probability {together.p_value:.2g}"
    )


def same_source_lines(result: CheckResult) -> list[str]:
    """What is said of each source, and which of its images were left out."""
    lines = []
    for source in result.same_source:
        lines.append(printable(source.sentence))
        lines += [f"  left out: {printable(f'{n}: {why}')}" for n, why in source.left_out[:SHOWN]]
        if len(source.left_out) > SHOWN:
            lines.append(f"  left out: {len(source.left_out) - SHOWN} more; --json names all")
    return lines


def accuracy_line(result: EvaluationResult) -> str:
    """The headline of an evaluation, as one line."""
    mean = result.mean_accuracy
    said = percent(mean) if math.isfinite(mean) else f"{CANNOT_SAY} (no image has a finite score)"
    return f"mean accuracy over {plural(len(result.others), 'other source')}: {said}"
