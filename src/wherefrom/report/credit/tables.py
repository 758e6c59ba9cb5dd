"""Credit results as tables, and their summaries in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wherefrom.core.saving.json_text import finite
from wherefrom.credit.estimators.planning import RunsPlan
from wherefrom.credit.evaluation.comparison import ShareEvaluation
from wherefrom.credit.evaluation.fidelity import Certificate
from wherefrom.credit.evaluation.lds import CounterfactualRow
from wherefrom.credit.evaluation.study_audit import AuditRow, SplitReport
from wherefrom.credit.payout.division import Payout
from wherefrom.credit.payout.money import show_money
from wherefrom.credit.result import Shares
from wherefrom.credit.study.cost import Cost
from wherefrom.report.pages.tables import Cell, Column, Table, columns_of, percent, plural


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
        *columns_of(
            f"method | alpha:num | LDS:% | {percent(level)} from:% | to:% | ceiling:% | "
            "subsets:int | seeds:int"
        ),
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
    return Table(
        columns_of("method | kind | contributors:int | change:% | runs:int"),
        tuple((r.method, r.kind, r.count, r.change, r.runs) for r in rows),
    )


def variance_table(evaluation: ShareEvaluation) -> Table:
    """Standard deviations of one run by their source."""
    columns = columns_of("what makes runs differ | standard deviation:num | made smaller by:text")
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


def shares_table(shares: Shares, names: Sequence[str]) -> Table:
    """One row per contributor, most credit first where the ranking is resolved, else by name."""
    columns = columns_of("contributor:text | share:num | from:num | to:num | sign | rank")
    rows = tuple(
        (
            names[i],
            float(shares.values[i]),
            finite(shares.low[i]),
            finite(shares.high[i]),
            sign_of(shares, i),
            rank_of(shares, i),
        )
        for i in order_of(shares, names)
    )
    return Table(columns, rows)


def order_of(shares: Shares, names: Sequence[str]) -> list[int]:
    """Places of contributors: most credit first if any two can be told apart, else by name."""
    if is_ranked(shares):
        return [int(i) for i in np.argsort(-shares.values, kind="stable")]
    return sorted(range(len(names)), key=lambda i: names[i])


def is_ranked(shares: Shares) -> bool:
    """Whether at least two contributors can be told apart."""
    return bool((shares.rank_low > 1).any())


def sign_of(shares: Shares, i: int) -> str:
    """The sign of a share: for, against, or not resolved."""
    if not shares.resolved[i]:
        return "not resolved"
    return "for" if shares.centers[i] > 0 else "against"


def rank_of(shares: Shares, i: int) -> str:
    """The ranks that the intervals allow, as `2-4`; not resolved where they allow all."""
    low, high = int(shares.rank_low[i]), int(shares.rank_high[i])
    if high - low == shares.players - 1:
        return "not resolved"
    return str(low) if low == high else f"{low}-{high}"


def shares_line(shares: Shares) -> str:
    """How much of the signs and of the ranking is resolved, in one sentence."""
    gain = f"{shares.anchors.gain:.4g} of gain, {plural(shares.runs, 'run')}, {shares.method}"
    known = f"{shares.resolved.sum()} of {shares.players} signs resolved"
    if not np.isfinite(shares.low).all():
        return f"not resolved: these runs carry no intervals ({gain})"
    if not is_ranked(shares):
        return f"ranking not resolved: no two contributors can be told apart; {known} ({gain})"
    return f"{known} at {percent(shares.level)} for all at once ({gain})"


def certificate_line(certificate: Certificate) -> str:
    """How well the proxy game predicts full retraining, in one sentence."""
    return (
        f"{certificate.matches} subsets in both games: Pearson {certificate.pearson:.3f}, "
        f"Spearman {certificate.spearman:.3f}, bias {certificate.bias:.4g} "
        f"(standard deviation {certificate.spread:.4g}); corrected shares: "
        f"{shares_line(certificate.corrected)}"
    )


def split_line(split: SplitReport) -> str:
    """What a contributor would gain by several names, in one sentence."""
    return (
        f"{split.name}: {split.before:.4g} alone, {split.after:.4g} under several names; "
        f"change {split.change:.4g} {'is resolved' if split.resolved else 'is not resolved'}"
    )


def plan_table(plan: RunsPlan) -> Table:
    """One row per budget."""
    columns = columns_of(
        "runs:int | hours:num | half-width:num | of the equal split:% | "
        "signs:num | neighbours told apart:num | paid:% | MB:num | advice:text"
    )
    rows = tuple(
        (
            row.runs,
            row.hours,
            row.half_width,
            row.relative,
            row.signs,
            row.separated,
            row.paid,
            None if row.bytes is None else row.bytes / 1e6,
            plan.advice(row),
        )
        for row in plan.rows
    )
    return Table(columns, rows)


def cost_table(cost: Cost, budgets: Iterable[int]) -> Table:
    """One row per stage, then everything for some numbers of runs."""
    columns = (*columns_of("what | steps:int | batch:int"), Column("hours", show_two, numeric=True))
    rows: list[tuple[str, int | None, int | None, float]] = [
        (stage.name, stage.steps, stage.batch, stage.seconds / 3600) for stage in cost.stages
    ]
    rows += [
        (f"everything, with {runs} runs", None, None, cost.hours(runs)) for runs in sorted(budgets)
    ]
    return Table(columns, tuple(rows))


def show_two(value: float) -> str:
    """A number with two digits, as an estimate deserves."""
    return f"{value:.2g}"


_MONEY = {"before": "paid before"}  # column titles that are not the field's name


def payout_table(payout: Payout) -> Table:
    """One row per contributor and the sum, money as text in the currency's own digits."""
    settles = any(payment.before for payment in payout.payments)
    before = ("before",) if settles else ()
    money = ("amount", "brought", *before, "paid", "escrow", "held", "balance")
    columns = (
        *columns_of("contributor:text | share:num"),
        *(Column(f"{_MONEY.get(name, name)} {payout.currency}", numeric=True) for name in money),
        Column("sign resolved"),
    )
    rows = [
        (
            payment.name,
            payment.share,
            *(show_money(getattr(payment, name), payout.digits) for name in money),
            "yes" if payment.resolved else "no",
        )
        for payment in payout.payments
    ]
    sums = [sum(getattr(payment, name) for payment in payout.payments) for name in money]
    total = ("sum", None, *(show_money(cents, payout.digits) for cents in sums), "")
    return Table(columns, (*rows, total))


def audit_table(rows: Sequence[AuditRow]) -> Table:
    """One row per check."""
    columns = columns_of("check | holds | value:num | what it says:text")
    words = {True: "yes", False: "no", None: "cannot say"}
    held = [
        words[r.held] + (", by construction" if r.held and r.construction else "") for r in rows
    ]
    return Table(
        columns, tuple((r.check, h, r.value, r.says) for r, h in zip(rows, held, strict=True))
    )
