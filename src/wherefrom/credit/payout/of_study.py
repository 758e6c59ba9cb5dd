"""Payouts of a study: divide a pool, settle its escrow by more runs, verify a receipt.

A settlement pays from escrow as more runs narrow the bounds.  The pool is divided again under the
terms of the earlier receipt, by the shares as they are known now; what it has paid counts.  At
every step, cent by cent,

    paid before + paid now + escrow + held = pool + brought.

Every settlement is another look at the runs, and spends a part of the error that is left for the
pool (`bounds.error_of_look`); the runs it rests on have to be fixed before it.

A receipt has one successor: settle the latest one, and give the latest one as the last round's to
the next pool.  The balances of the earlier receipt are part of the later one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.evaluation.remarks import division_lines, shared_lines
from wherefrom.credit.ledger.game import RunTable
from wherefrom.credit.method import FinishedRuns, OpenStudy, finished_runs
from wherefrom.credit.payout.division import History, Payout, PayoutConfig, divide_pool
from wherefrom.credit.payout.receipt import (
    SETTLED,
    STUDY,
    balances_of,
    canonical,
    check_files,
    column_of,
    compare_receipts,
    make_receipt,
    read_receipt,
    runs_digest,
    runs_of,
    settings_of,
)
from wherefrom.credit.result import Shares


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a payout is asked for.  A receipt holds it, so that it can be asked for again.

    `pool`: as in "10000.00".  `balances`: of the last round's receipt (`receipt.balances_of`).
    """

    pool: str
    currency: str = "EUR"
    method: str = "auto"
    level: float = LEVEL
    policy: PayoutConfig = field(default_factory=PayoutConfig)
    balances: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"policy": self.policy.to_dict(), "balances": dict(self.balances)}


@dataclass(frozen=True, eq=False)
class StudyPayout:
    """A payout with the shares and the runs that it rests on, and its receipt as JSON values."""

    receipt: dict[str, Any]
    shares: Shares
    payout: Payout
    runs: FinishedRuns

    def to_dict(self) -> dict[str, Any]:
        """The receipt."""
        return self.receipt

    def to_dataframe(self) -> Any:
        """The payments as a pandas frame."""
        return self.payout.to_dataframe()

    def _repr_html_(self) -> str:
        return self.payout._repr_html_()


class Verification(NamedTuple):
    """A receipt that the study gives again: its last digest, and how many runs it rests on.

    `later_runs`: runs that were made since.  `files`: those beside the receipt, unchanged.
    """

    digest: str
    runs: int
    later_runs: int
    files: tuple[str, ...]


def divide(
    runs: FinishedRuns, terms: Terms, *, earlier: Mapping[str, Any] | None = None
) -> StudyPayout:
    """Divide a pool by the shares of finished runs.

    `earlier`: the record of the receipt that is settled (`earlier_of`).  `InputError`
    where the shares carry no division (`divide_pool`).
    """
    earlier, opened = earlier or {}, runs.opened
    credit = runs.credit(terms.method, level=terms.level)
    remarks = [*division_lines(opened, credit.shares), *shared_lines(opened.data)]
    shares = replace(credit.shares, notes=(*credit.shares.notes, *remarks))
    payout = divide_pool(
        shares,
        credit.names,
        terms.pool,
        currency=terms.currency,
        config=terms.policy,
        history=History(terms.balances, earlier.get("paid", {}), look_after(earlier)),
        lot=runs_digest(runs.table),
    )
    receipt = make_receipt(
        _study_records(runs),
        table=runs.table,
        shares=shares,
        payout=payout,
        settings={"property": runs.name, **terms.to_dict()},
        earlier=earlier,
    )
    return StudyPayout(receipt, shares, payout, runs)


def pay(
    study: OpenStudy,
    pool: str,
    *,
    property: str | None = None,  # noqa: A002 (the word of the study file)
    currency: str = "EUR",
    method: str = "auto",
    level: float = LEVEL,
    policy: PayoutConfig | None = None,
    last: Path | str | None = None,
) -> StudyPayout:
    """Divide `pool`, an amount as "1000.00", by the shares; the amounts add up to it exactly.

    `last`: the receipt.json of the last round, for held amounts and debts.  `InputError` if the
    runs do not show that there is a gain to divide.
    """
    terms = Terms(
        pool=pool,
        currency=currency,
        method=method,
        level=level,
        policy=policy or PayoutConfig(),
        balances={} if last is None else balances_of(read_receipt(Path(last))),
    )
    return divide(finished_runs(study, property), terms)


def settle(opened: OpenStudy, receipt: Mapping[str, Any]) -> StudyPayout:
    """Divide the pool of a receipt again by the runs that are there now; what it paid counts.

    `InputError` where the receipt is of another study, nothing is in escrow, or no run is new.
    """
    name, terms = _terms_of(receipt)
    runs = finished_runs(opened, name)
    require_same_study(receipt, _study_records(runs))
    with opened.ledger(readonly=True) as ledger:
        require_new_runs(receipt, ledger.runs(name), runs.table)
    return divide(runs, terms, earlier=earlier_of(receipt))


def verify(opened: OpenStudy, receipt: Mapping[str, Any], folder: Path) -> Verification:
    """Make a receipt again from the runs that it rests on, and compare; `folder` is where it lies.

    `InputError` where the study gives another receipt, or a file beside it was changed.
    """
    files = check_files(receipt, folder)
    check_settled(receipt, folder)
    name, terms = _terms_of(receipt)
    runs = finished_runs(opened, name)
    with opened.ledger(readonly=True) as ledger:
        listed = replace(runs, table=runs_of(receipt, ledger.runs(name)))
    again = divide(listed, terms, earlier=receipt["records"]["earlier"])
    changed = compare_receipts(receipt, again.receipt)
    if changed:
        raise InputError(
            f"the receipt is whole, but the study gives another record {changed!r} for the same "
            "runs; the data, the recipe or the program are not those it was written with"
        )
    count = len(listed.table.values)
    digest = str(receipt["chain"][-1]["digest"])
    return Verification(digest, count, len(runs.table.values) - count, files)


def _terms_of(receipt: Mapping[str, Any]) -> tuple[str, Terms]:
    """The property of a receipt, and its terms."""
    settings = settings_of(receipt)
    policy = PayoutConfig.from_dict(settings.pop("policy"))
    return settings.pop("property"), Terms(policy=policy, **settings)


def _study_records(runs: FinishedRuns) -> dict[str, Any]:
    """The records of a receipt that say which study it is of."""
    identity, data = runs.opened.identity, runs.opened.data
    return {
        "contributors": list(dict.fromkeys(data.unions) or runs.names),
        "game": {
            "digest": identity.digest,
            "players": identity.players,
            "spec": dict(identity.spec),
        },
        "property": {"name": runs.name, "spec": dict(runs.opened.specs[runs.name])},
    }


def earlier_of(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The record of this receipt in a later one: last digest, number of its look, amounts paid."""
    return {
        "digest": receipt["chain"][-1]["digest"],
        "look": look_after(receipt["records"]["earlier"]),
        "paid": column_of(receipt, "before", "paid"),
    }


def look_after(earlier: Mapping[str, Any]) -> int:
    """The number of the payout that follows `earlier_of` a receipt, 1 where there is none."""
    look = earlier.get("look", 0)
    if type(look) is not int or look < 0:
        raise ArtifactError(f"the receipt's number of looks is {look!r}; it is forged")
    return look + 1


def require_same_study(receipt: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    """An `InputError` if the receipt is of other contributors, another game or property."""
    for name in STUDY:
        if canonical(receipt["records"][name]) != canonical(study[name]):
            raise InputError(
                f"the receipt is of another study: its record {name!r} is not this study's; "
                "settle it with the study it was made from"
            )


def require_new_runs(receipt: Mapping[str, Any], known: RunTable, usable: RunTable) -> None:
    """An `InputError` if no amount is in escrow, or no run was made since the receipt.

    `known`: all runs of the ledger; `usable`: those that shares rest on.
    """
    if not any(column_of(receipt, "escrow").values()):
        raise InputError("nothing is in escrow in this receipt; there is nothing to settle")
    rested = len(runs_of(receipt, known).values)
    if len(usable.values) <= rested:
        raise InputError(
            f"the receipt rests on {rested} runs, and there are no others since; make more "
            "(`wherefrom credit run STUDY --runs N`), then settle"
        )


def check_settled(receipt: Mapping[str, Any], folder: Path) -> None:
    """An `InputError` if the earlier receipt that lies beside is not the one that was settled."""
    beside = folder / SETTLED
    if not receipt["records"]["earlier"] or not beside.is_file():
        return
    if canonical(earlier_of(read_receipt(beside))) != canonical(receipt["records"]["earlier"]):
        raise InputError(f"{beside} is not the receipt that was settled, or it paid another amount")
