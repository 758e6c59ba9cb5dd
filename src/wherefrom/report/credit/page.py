"""Shares and payouts as one self-contained HTML page, and the folder of a payout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherefrom.core.saving.store import scratch_beside, write_file
from wherefrom.credit.evaluation.remarks import start_weight_of
from wherefrom.credit.method import FinishedRuns
from wherefrom.credit.payout.division import Payout
from wherefrom.credit.payout.of_study import StudyPayout
from wherefrom.credit.payout.receipt import FILES, SETTLED, with_files
from wherefrom.credit.result import Shares
from wherefrom.report.credit.tables import order_of, payout_table, shares_line, shares_table
from wherefrom.report.pages import html
from wherefrom.report.pages.figures import share_intervals
from wherefrom.report.pages.tables import Table, to_csv

START_WEIGHT = "weight of the starting weights in the average of a run"


def basis_of(runs: FinishedRuns) -> dict[str, Any]:
    """Study, game, property and data that the shares rest on, without the recipe's length."""
    opened = runs.opened
    return {
        "study": str(opened.study.path),
        "game": opened.identity.name,
        "game digest": opened.identity.digest,
        "property": dict(opened.specs[runs.name]),
        "runs with a value": len(runs.table.values),
        **facts_of(runs),
        "data": dict(opened.identity.spec.get("data", {})),
    }


def facts_of(runs: FinishedRuns) -> dict[str, Any]:
    """Who the players are, who gave the same images, and how much runs average their start in."""
    data = runs.opened.data
    with runs.opened.ledger(readonly=True) as ledger:
        start = start_weight_of(ledger.details())
    facts: dict[str, Any] = {START_WEIGHT: None if start is None else start._asdict()}
    facts["same images"] = [list(pair) for pair in data.shared]
    if data.origin is None:
        return facts
    members = {name: list(given) for name, given in data.members().items()}
    return facts | {"players": {"are": data.seating, "members": members}}


MEANING = (
    (
        "share",
        "the part of the gain that is credited to a contributor: the mean of what its data add "
        "over all orders of joining. Shares add up to the gain. A negative share means that the "
        "data lower the property.",
    ),
    (
        "from, to",
        "an interval for the share before it was drawn toward the equal split. All intervals hold "
        "at once with the stated probability, for one look at a number of runs that was fixed "
        "beforehand.",
    ),
    ("sign", "not resolved: the interval contains zero, so the runs do not even carry the sign."),
    ("rank", "the best and the worst rank that the runs allow, for all contributors at once."),
)
GROUPS = (
    "What the members of each group get together. A sum is known better than its parts, so groups "
    "may be told apart where their members are not. They are chosen without looking at the shares."
)
INSIDE = (
    "Owen values: the same division one level down. Members join one after the other when their "
    "contributor or union joins, and their shares add up to its share."
)
LIMITS = (
    ("a declared game", "the shares divide one measured property of one model under one recipe."),
    ("no title", "credit is no statement about ownership, licences or copying."),
)


def write_credit_report(
    path: Path,
    shares: Shares,
    names: Sequence[str],
    *,
    basis: Mapping[str, Any],
    payout: Payout | None = None,
    more: Sequence[html.Section] = (),
    groups: Table | None = None,
    remarks: Sequence[str] = (),
) -> None:
    """Write the page of shares, with the payments of a `payout` where there is one.

    `basis`: facts of the study as JSON values; `more`: sections after the shares; `groups`: a table
    of sums; `remarks`: sentences about the study.
    """
    order = order_of(shares, names)
    drawn = share_intervals(
        [names[i] for i in order], shares.values[order], shares.low[order], shares.high[order]
    )
    answer: list[Any] = [html.Prose(shares_line(shares), *remarks, *shares.notes), _cards(shares)]
    caption = "Shares (points) and the intervals that hold for all contributors at once."
    blocks = [html.Figure(*drawn, alt="shares with intervals", caption=caption)]
    sections = [
        html.Section("Answer", *answer),
        html.Section("Shares", *blocks, html.table_grid(shares_table(shares, names))),
    ]
    if groups is not None:
        sections.append(html.Section("Groups", html.Prose(GROUPS), html.table_grid(groups)))
    if payout is not None:
        sections.append(
            html.Section("Payout", html.table_grid(payout_table(payout)), _policy(payout))
        )
    sections += more
    sections += [
        html.Section("What the columns mean", html.Points(*MEANING)),
        html.Section("What they do not say", html.Points(*LIMITS)),
        html.Section("What was run", html.facts_of(basis)),
    ]
    html.write_report(path, "Who contributed how much?", sections)


def inside_section(shares: Shares, names: Sequence[str]) -> html.Section:
    """The section with the shares of the members of unions."""
    return html.Section("Inside", html.Prose(INSIDE), html.table_grid(shares_table(shares, names)))


def _cards(shares: Shares) -> html.Cards:
    known = int(shares.resolved.sum())
    bounded = bool(np.isfinite(shares.low).all())
    return html.Cards(
        (f"{shares.anchors.gain:.4g}", "gain of all the data", ""),
        (str(shares.runs), "runs", ""),
        (f"{known} of {shares.players}", "signs resolved", "yes" if known else "unsure"),
        (
            "yes" if shares.ranking_resolved else "no",
            "whole ranking resolved",
            "yes" if shares.ranking_resolved and bounded else "unsure",
        ),
    )


def _policy(payout: Payout) -> html.Facts:
    settings = payout.config.to_dict() | {
        "payout number of this pool": payout.look,
        "probability that somebody is paid more than the true part, at most": payout.error,
    }
    return html.facts_of(settings)


def write_payout(out: Path, paid: StudyPayout, *, settles: Path | None = None) -> dict[str, Any]:
    """Write the new folder `out`, whole or not at all; the receipt with the digests of its files.

    `settles`: the receipt file that this payout settles, which is copied into the folder.
    """
    with scratch_beside(out) as scratch:
        write_file(scratch / "payout.csv", to_csv(payout_table(paid.payout)).encode())
        basis = basis_of(paid.runs)
        if settles is not None:
            write_file(scratch / SETTLED, settles.read_bytes())
            basis |= {"settles the receipt": paid.receipt["records"]["earlier"]["digest"]}
        names = [payment.name for payment in paid.payout.payments]
        page = scratch / "payout.html"
        write_credit_report(page, paid.shares, names, basis=basis, payout=paid.payout)
        written = [scratch / name for name in FILES if (scratch / name).exists()]
        receipt = with_files(paid.receipt, {path.name: path.read_bytes() for path in written})
        text = json.dumps(receipt, indent=1, allow_nan=False, ensure_ascii=False)
        write_file(scratch / "receipt.json", text.encode())
    return receipt
