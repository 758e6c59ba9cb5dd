"""Payouts of a study: divide a pool, settle its escrow by more runs, verify a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.finished import FinishedRuns, finished_runs
from wherefrom.credit.method import OpenStudy
from wherefrom.credit.payout.division import History, Payout, PayoutConfig, divide_pool
from wherefrom.credit.payout.receipt import (
    check_files,
    compare_receipts,
    make_receipt,
    runs_digest,
    runs_of,
    settings_of,
)
from wherefrom.credit.payout.settlement import (
    check_settled,
    earlier_of,
    look_after,
    require_new_runs,
    require_same_study,
)
from wherefrom.credit.remarks import division_lines, shared_lines
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

    `earlier`: the record of the receipt that is settled (`settlement.earlier_of`).  `InputError`
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
