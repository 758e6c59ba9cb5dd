"""Checks and records of a settlement, which pays from escrow as more runs narrow the bounds.

The pool is divided again under the terms of the earlier receipt, by the shares as they are known
now; what it has paid counts.  At every step, cent by cent,

    paid before + paid now + escrow + held = pool + brought.

Every settlement is another look at the runs, and spends a part of the error that is left for the
pool (`bounds.error_of_look`); the runs it rests on have to be fixed before it.

A receipt has one successor: settle the latest one, and give the latest one as the last round's to
the next pool.  The balances of the earlier receipt are part of the later one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.credit.game import RunTable
from wherefrom.credit.payout.chain import canonical
from wherefrom.credit.payout.receipt import SETTLED, STUDY, column_of, read_receipt, runs_of


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
