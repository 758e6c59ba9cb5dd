"""An evaluation's tables: LDS in the shape of Table 1, counterfactual changes, sources of noise."""

from __future__ import annotations

from collections.abc import Sequence

from wherefrom.credit.evaluation.contest import Judgement
from wherefrom.credit.evaluation.lds import CounterfactualRow
from wherefrom.report.credit.tables import finite
from wherefrom.report.pages.tables import Cell, Column, Table, show_score
from wherefrom.report.pages.text import percent


def lds_table(found: Judgement, level: float) -> Table:
    """LDS in percent by method and size; a baseline without scores has the reason instead."""
    behind = {(gap.method, gap.size): gap for gap in found.gaps}
    reference = found.gaps[0].reference if found.gaps else ""
    columns = (
        Column("method"),
        Column("alpha", show_score, numeric=True),
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
    for row in found.lds:
        values = map(finite, (row.lds, row.low, row.high, row.ceiling))
        gap = behind.get((row.method, row.size))
        ends = [None] * 3 if gap is None else [finite(x) for x in (gap.gap, gap.low, gap.high)]
        told = (row.method, row.alpha, *values, row.subsets, row.seeds)
        rows.append((*told, *(ends if behind else ()), ""))
    empty = (None,) * (len(columns) - 2)
    rows += [(method, *empty, why) for method, why in found.missing.items()]
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


def variance_table(found: Judgement) -> Table:
    """What makes runs differ, as standard deviations of one run."""
    columns = (
        Column("what makes runs differ"),
        Column("standard deviation", show_score, numeric=True),
        Column("made smaller by", folds=True),
    )
    if found.variance is None:
        return Table(columns, ())
    rows = [
        ("which contributors take part", found.variance.subset**0.5, "nothing: it is the answer"),
        ("the seed of training", found.variance.training**0.5, "more runs"),
    ]
    if found.images is not None:
        more = "more images per run; shared by all runs, so most of it cancels"
        rows.append(("the noise of the images", found.images**0.5, more))
    return Table(columns, tuple(rows))


def contest_notes(found: Judgement) -> list[str]:
    """What the reader of the tables has to know."""
    notes = []
    if found.known:
        known = (
            "they are left out of LDS"
            if found.dropped
            else ("too few would be left without them, so LDS is not of unseen subsets")
        )
        notes.append(
            f"{found.known} of the {found.held_out} held-out subsets were also run, with other "
            f"seeds, for the shares: {known}"
        )
    if found.variance is not None:
        notes.append(f"spend on: {found.variance.buy}")
    open_rows = sum(row.change is None for row in found.changes)
    if open_rows:
        notes.append(f"{open_rows} counterfactual subsets are not run; --run makes them")
    return notes
