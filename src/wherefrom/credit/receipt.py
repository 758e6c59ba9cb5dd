"""The receipt of a payout: every record from the data to the money, and the chain over them.

It is checked against itself (nobody changed it) and against the study (the ledger still says so).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.credit.chain import build_chain, verify_chain
from wherefrom.credit.game import RunTable, mask_of
from wherefrom.credit.payout import Payout
from wherefrom.credit.result import Shares
from wherefrom.credit.runs import checked

KIND = "wherefrom credit receipt"
SCHEMA = 1
RECORDS = ("contributors", "game", "property", "runs", "shares", "payout")
MAX_BYTES = 256 * 2**20


def make_receipt(
    *,
    contributors: Sequence[str],
    game: Mapping[str, Any],
    measured: Mapping[str, Any],
    table: RunTable,
    shares: Shares,
    payout: Payout,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """JSON values.  `game` holds the digests of the data and the recipe, `measured` the property;
    `settings` is what the payout was asked for, so that it can be asked for again.
    """
    runs = checked(table)
    rows = zip(runs.masks, runs.seeds, runs.values, strict=True)
    bodies = {
        "contributors": list(contributors),
        "game": dict(game),
        "property": dict(measured),
        "runs": [[f"{mask_of(row):x}", int(seed), float(value)] for row, seed, value in rows],
        "shares": shares.to_dict(),
        "payout": payout.to_dict() | {"settings": dict(settings)},
    }
    records = [(name, bodies[name]) for name in RECORDS]
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "records": bodies,
        "chain": [asdict(link) for link in build_chain(records)],
    }


def read_receipt(path: Path) -> dict[str, Any]:
    """The receipt as it was written; an `ArtifactError` names the record that was changed."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} is larger than {MAX_BYTES} bytes and no receipt")
        receipt = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged (not JSON: {error})") from error
    good = isinstance(receipt, dict) and receipt.get("kind") == KIND
    if not good or receipt.get("schema") != SCHEMA:
        raise ArtifactError(f"{path} is no receipt of a payout of format {SCHEMA}")
    records, chain = receipt.get("records"), receipt.get("chain")
    shaped = isinstance(records, dict) and set(records) == set(RECORDS) and isinstance(chain, list)
    if not shaped or not all(isinstance(link, dict) for link in chain):
        raise ArtifactError(f"{path} lacks records or links")
    try:
        verify_chain([(name, records[name]) for name in RECORDS], chain)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return dict(receipt)


def compare_receipts(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first record in which a receipt and one made again differ; empty where none does."""
    for name in RECORDS:
        if build_chain([(name, old["records"][name])]) != build_chain(
            [(name, new["records"][name])]
        ):
            return name
    return ""


def balances_of(receipt: Mapping[str, Any]) -> dict[str, int]:
    """What the next round has to know: the balance of every contributor, in the smallest unit."""
    payments = receipt["records"]["payout"]["payments"]
    return {payment["name"]: int(payment["balance"]) for payment in payments}
