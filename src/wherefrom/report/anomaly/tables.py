"""Anomaly results as tables: raw values, rounded only by the writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherefrom.report.pages.tables import Cell, Column, Table, number, rounded_share, show_p_value

if TYPE_CHECKING:  # importing a question's package imports torch
    from wherefrom.anomaly.auditing import Audit, AuditedImage
    from wherefrom.anomaly.calibration.judgement import ImageJudgement
    from wherefrom.anomaly.comparison.generators import Comparison
    from wherefrom.anomaly.paper.human import Correlation
    from wherefrom.anomaly.paper.reproduce import ReproducedRow, Reproduction


def _p(title: str) -> Column:
    return Column(title, show_p_value, numeric=True)


GENERATOR_COLUMNS = (
    Column("generator", folds=True),
    Column("rank"),
    Column("group"),
    Column("images", numeric=True),
    number("AS"),
    number("95% from"),
    number("to"),
    _p("p-value"),
    _p("p-value, all generators together"),
    number("AS of real images"),
    number("AS at equal size"),
    number("C"),
    number("V"),
    number("FD"),
    number("KD"),
    number("precision"),
    number("recall"),
    number("density"),
    number("coverage"),
    number("realism"),
    number("IS"),
    Column("left out", numeric=True),
    Column("flagged", rounded_share, numeric=True),
)
GENERATOR_SHOWN = (
    *("generator", "rank", "group", "images", "AS", "95% from", "to"),
    *("p-value, all generators together", "AS of real images", "flagged", "FD", "KD"),
)


def generator_table(audit: Audit) -> Table:
    """One row per generator, nearest to the real images first."""
    generators = audit.comparison.generators
    flagged = [audit.flags[row.name].flagged / row.count for row in generators]
    values = (row.values() for row in audit.comparison.rows())
    rows = tuple((*row, share) for row, share in zip(values, flagged, strict=True))
    return Table(GENERATOR_COLUMNS, rows)


JUDGEMENT_COLUMNS = (
    Column("image", folds=True),
    Column("flagged"),
    _p("p-value"),
    number("percentile"),
    number("C"),
    number("V"),
    number("AS-i"),
    Column("reason", folds=True),
    _p("p of AS-i"),
    _p("p of V"),
    _p("p of (C, V)"),
    Column("digest"),
)
JUDGEMENT_SHOWN = ("image", "flagged", "p-value", "percentile", "C", "V", "AS-i", "reason")


def judgement_table(rows: Sequence[ImageJudgement]) -> Table:
    """One row per image, in their order."""
    return Table(JUDGEMENT_COLUMNS, tuple(_judgement_row(row) for row in rows))


def _judgement_row(row: ImageJudgement) -> tuple[Cell, ...]:
    return (
        row.name,
        "yes" if row.flagged else "no",
        row.p_value,
        row.percentile,
        row.complexity,
        row.vulnerability,
        row.as_i,
        row.reason,
        row.p_as_i,
        row.p_vulnerability,
        row.p_joint,
        row.digest,
    )


def image_table(images: Sequence[AuditedImage]) -> Table:
    """One row per generated image of an audit, worst first."""
    columns = (
        Column("rank", numeric=True),
        Column("generator"),
        *JUDGEMENT_COLUMNS,
        number("realism"),
        number("distance to real images"),
    )
    rows = tuple(
        (i.rank, i.generator, *_judgement_row(i.judgement), i.realism, i.distance) for i in images
    )
    return Table(columns, rows)


def pair_table(comparison: Comparison) -> Table:
    """Every pair of generators, and whether the data tell them apart."""
    columns = (
        Column("nearer"),
        Column("further"),
        _p("p-value, all pairs together"),
        Column("told apart"),
    )
    ranking = comparison.ranking
    rows = tuple(
        (nearer, farther, p, "yes" if p <= ranking.error_rate else "no")
        for (nearer, farther), p in ranking.pairs.items()
    )
    return Table(columns, rows)


def mean_table(rows: Sequence[ReproducedRow]) -> Table:
    """The t-tests of C and V, one- and two-tailed."""
    columns = (
        Column("generator"),
        number("eps and alpha"),
        Column("K and J", numeric=True),
        Column("of"),
        number("real"),
        number("generated"),
        _p("one-tailed p"),
        _p("two-tailed p"),
        Column("as the paper expects"),
        number("paper: real"),
        number("paper: generated"),
    )
    return Table(
        columns,
        tuple(
            (
                row.generator,
                row.step,
                row.count,
                letter,
                test.real,
                test.generated,
                test.p_one,
                test.p_two,
                "yes" if test.as_expected else "NO",
                row.published[first],
                row.published[first + 1],
            )
            for row in rows
            for letter, test, first in (("C", row.complexity, 0), ("V", row.vulnerability, 2))
        ),
    )


def agreement_table(rows: Sequence[Correlation]) -> Table:
    """Correlations with people's guesses."""
    columns = (
        Column("correlation"),
        Column("pairs", numeric=True),
        number("Pearson"),
        number("95% from"),
        number("to"),
        number("Spearman"),
        number("noise ceiling"),
    )
    return Table(
        columns,
        tuple((r.what, r.count, r.pearson, r.low, r.high, r.spearman, r.ceiling) for r in rows),
    )


def reproduction_tables(result: Reproduction) -> tuple[Table, ...]:
    """Tab. B.1 with its tests, then the agreement with people if there is one."""
    grid = mean_table(result.grid)
    return (grid, agreement_table(result.agreement)) if result.agreement else (grid,)
