"""Anomaly results as tables: raw values, rounded only by the writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherefrom.report.pages.tables import Cell, Column, Table, columns_of, number, show_p_value

if TYPE_CHECKING:  # importing a question's package imports torch
    from wherefrom.anomaly.auditing import Audit, AuditedImage
    from wherefrom.anomaly.calibration.judgement import ImageJudgement, Judgements
    from wherefrom.anomaly.comparison.generators import Comparison
    from wherefrom.anomaly.damage.fitted import DamageReport
    from wherefrom.anomaly.paper.human import Correlation
    from wherefrom.anomaly.paper.reproduce import ReproducedRow, Reproduction


def _p(title: str) -> Column:
    return Column(title, show_p_value, numeric=True)


GENERATOR_COLUMNS = columns_of(
    "generator:text | rank | group | images:int | FD at equal size:num | rank by AS | "
    "group by AS | AS:num | 95% from:num | to:num | "
    "p-value:p | p-value, all generators together:p | AS of real images:num | "
    "AS at equal size:num | C:num | V:num | FD:num | KD:num | precision:num | recall:num | "
    "density:num | coverage:num | realism:num | IS:num | left out:int | flagged:share"
)
GENERATOR_SHOWN = (
    *("generator", "rank", "group", "images", "FD at equal size", "KD", "AS", "95% from", "to"),
    *("p-value, all generators together", "AS of real images", "rank by AS", "flagged"),
)


def generator_table(audit: Audit) -> Table:
    """One row per generator, nearest to the real images first, by Fréchet distance."""
    generators = audit.comparison.generators
    flagged = [audit.flags[row.name].flagged / row.count for row in generators]
    values = (row.values() for row in audit.comparison.rows())
    rows = tuple((*row, share) for row, share in zip(values, flagged, strict=True))
    return Table(GENERATOR_COLUMNS, rows)


JUDGEMENT_COLUMNS = columns_of(
    "image:text | flagged | p-value:p | percentile:num | C:num | V:num | AS-i:num | "
    "reason:text | p of AS-i:p | p of V:p | p of (C, V):p | digest"
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


DAMAGE_COLUMNS = columns_of(
    "image:text | flagged | in folder | p-value:p | evidence | reason:text | p of damage:p | "
    "p of mixture:p | p of features:p | p of spectrum:p | digest"
)
DAMAGE_SHOWN = ("image", "flagged", "in folder", "p-value", "evidence", "reason")


def whole_table(result: Judgements | DamageReport) -> Table:
    """One row per image with all that is known of it, in their order."""
    from wherefrom.anomaly.calibration.judgement import Judgements

    if isinstance(result, Judgements):
        return judgement_table(result.images)
    rows = tuple(
        (
            row.name,
            "yes" if row.flagged else "no",
            "yes" if row.discovery else "no",
            row.p_value,
            row.evidence,
            row.reason,
            *row.p_by_evidence.values(),
            row.digest,
        )
        for row in result.images
    )
    return Table(DAMAGE_COLUMNS, rows)


def shown_table(result: Judgements | DamageReport) -> Table:
    """The columns that a terminal shows."""
    table = whole_table(result)
    return table.select(*(DAMAGE_SHOWN if table.columns == DAMAGE_COLUMNS else JUDGEMENT_SHOWN))


def image_table(images: Sequence[AuditedImage]) -> Table:
    """One row per generated image of an audit, worst first."""
    columns = (
        *columns_of("rank:int | generator"),
        *JUDGEMENT_COLUMNS,
        *columns_of("realism:num | distance to real images:num"),
    )
    rows = tuple(
        (i.rank, i.generator, *_judgement_row(i.judgement), i.realism, i.distance) for i in images
    )
    return Table(columns, rows)


def pair_table(comparison: Comparison) -> Table:
    """Every pair of generators, and whether the data tell them apart, by FD and by AS."""
    columns = columns_of("by | nearer | further | p-value, all pairs together:p | told apart")
    rows = tuple(
        (measure, nearer, farther, p, "yes" if p <= ranking.error_rate else "no")
        for measure, ranking in (("FD", comparison.frechet.ranking), ("AS", comparison.ranking))
        for (nearer, farther), p in ranking.pairs.items()
    )
    return Table(columns, rows)


def mean_table(rows: Sequence[ReproducedRow]) -> Table:
    """The t-tests of C and V, one- and two-tailed."""
    columns = (
        *columns_of(
            "generator | eps and alpha:num | K and J:int | of | real:num | generated:num | "
            "one-tailed p:p | two-tailed p:p | as the paper expects"
        ),
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


def mean_test_table(result: Reproduction) -> Table:
    """The t-tests at the paper's settings as in Tab. C.1 and E.1, and below them the published.

    A one-tailed p-value is `-` where the means do not lie as the paper expects.
    """
    from wherefrom.anomaly.paper.reproduce import PUBLISHED_TESTS

    columns = columns_of(
        "table | data | generator | network | C, real:num | C, generated:num | "
        "p of C, one-tailed | p of C, two-tailed | V, real:num | V, generated:num | "
        "p of V, one-tailed | p of V, two-tailed"
    )
    rows: list[tuple[Cell, ...]] = []
    for row in result.tests:
        cells: list[Cell] = ["measured", "yours", row.generator, str(result.encoder["kind"])]
        for test in (row.complexity, row.vulnerability):
            one_tailed = show_p_value(test.p_one) if test.as_expected else "-"
            cells += [test.real, test.generated, one_tailed, show_p_value(test.p_two)]
        rows.append(tuple(cells))
    for paper in PUBLISHED_TESTS:
        cells = [f"Tab. {paper.table}", paper.data, paper.generator, paper.network]
        for means, p in (
            (paper.complexity, paper.complexity_p),
            (paper.vulnerability, paper.vulnerability_p),
        ):
            cells += [*means, *(("", p) if paper.two_tailed else (p, ""))]
        rows.append(tuple(cells))
    return Table(columns, tuple(rows))


def agreement_table(rows: Sequence[Correlation]) -> Table:
    """Correlations with people's guesses."""
    columns = columns_of(
        "correlation | pairs:int | Pearson:num | 95% from:num | to:num | Spearman:num | "
        "noise ceiling:num"
    )
    return Table(
        columns,
        tuple((r.what, r.count, r.pearson, r.low, r.high, r.spearman, r.ceiling) for r in rows),
    )


def reproduction_tables(result: Reproduction) -> tuple[Table, ...]:
    """Tab. B.1, the tests of Tab. C.1 and E.1, then the agreement with people if there is one."""
    tables = mean_table(result.grid), mean_test_table(result)
    return (*tables, agreement_table(result.agreement)) if result.agreement else tables
