"""Tables of an evaluation of shares: LDS, counterfactual changes, sources of noise."""

from __future__ import annotations

from collections.abc import Sequence

from wherefrom.core.saving.json_text import finite
from wherefrom.credit.evaluation.comparison import ShareEvaluation
from wherefrom.credit.evaluation.lds import CounterfactualRow
from wherefrom.report.pages.tables import Cell, Column, Table, number
from wherefrom.report.pages.text import percent


def evaluation_tables(evaluation: ShareEvaluation, level: float) -> list[Table]:
    """The table of LDS, and those of counterfactual changes and of noise where there are any."""
    tables = [lds_table(evaluation, level)]
    tables += [counterfactual_table(evaluation.changes)] if evaluation.changes else []
    tables += [variance_table(evaluation)] if evaluation.variance is not None else []
    return tables


def lds_table(evaluation: ShareEvaluation, level: float) -> Table:
    """LDS in percent by method and size; a baseline without scores has the reason instead."""
    behind = {(gap.method, gap.size): gap for gap in evaluation.gaps}
    reference = evaluation.gaps[0].reference if evaluation.gaps else ""
    columns = (
        Column("method"),
        number("alpha"),
        Column("LDS", percent, numeric=True),
        Column(f"{percent(level)} from", percent, numeric=True),
        Column("to", percent, numeric=True),
        Column("ceiling", percent, numeric=True),
        Column("subsets", numeric=True),
        Column("seeds", numeric=True),
        *((Column(f"{reference} is ahead by", percent, numeric=True),) if behind else ()),
        *((Column("at least", percent, numeric=True),) if behind else ()),
        *((Column("at most", percent, numeric=True),) if behind else ()),
        Column("why not", folds=True),
    )
    rows: list[tuple[Cell, ...]] = []
    for row in evaluation.lds:
        values = map(finite, (row.lds, row.low, row.high, row.ceiling))
        gap = behind.get((row.method, row.size))
        ends = [None] * 3 if gap is None else [finite(x) for x in (gap.gap, gap.low, gap.high)]
        cells = (row.method, row.alpha, *values, row.subsets, row.seeds)
        rows.append((*cells, *(ends if behind else ()), ""))
    empty = (None,) * (len(columns) - 2)
    rows += [(method, *empty, why) for method, why in evaluation.missing.items()]
    return Table(columns, tuple(rows))


def counterfactual_table(rows: Sequence[CounterfactualRow]) -> Table:
    """Relative changes after removing or keeping the top contributors."""
    columns = (
        Column("method"),
        Column("kind"),
        Column("contributors", numeric=True),
        Column("change", percent, numeric=True),
        Column("runs", numeric=True),
    )
    return Table(columns, tuple((r.method, r.kind, r.count, r.change, r.runs) for r in rows))


def variance_table(evaluation: ShareEvaluation) -> Table:
    """Standard deviations of one run by their source."""
    columns = (
        Column("what makes runs differ"),
        number("standard deviation"),
        Column("made smaller by", folds=True),
    )
    if evaluation.variance is None:
        return Table(columns, ())
    rows = [
        (
            "which contributors take part",
            evaluation.variance.subset**0.5,
            "nothing: it is the answer",
        ),
        ("the seed of training", evaluation.variance.training**0.5, "more runs"),
    ]
    if evaluation.images is not None:
        more = "more images per run; shared by all runs, so most of it cancels"
        rows.append(("the noise of the images", evaluation.images**0.5, more))
    return Table(columns, tuple(rows))


def evaluation_notes(evaluation: ShareEvaluation) -> list[str]:
    """Sentences that the tables need: overlap with the shares' runs, advice, missing runs."""
    notes = []
    if evaluation.known:
        known = "they are left out of LDS"
        if not evaluation.dropped:
            known = "too few would be left without them, so LDS is not of unseen subsets"
        notes.append(
            f"{evaluation.known} of the {evaluation.held_out} held-out subsets were also run, with "
            f"other seeds, for the shares: {known}"
        )
    if evaluation.variance is not None:
        notes.append(f"spend on: {evaluation.variance.buy}")
    open_rows = sum(row.change is None for row in evaluation.changes)
    if open_rows:
        notes.append(f"{open_rows} counterfactual subsets are not run; --run makes them")
    return notes
