"""`wherefrom credit payout`: money, and the receipt behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console import Session, print_json, print_table
from wherefrom.cli.credit_results import (
    Finished,
    basis_of,
    device_option,
    finished,
    json_option,
    level_option,
    method_option,
    property_option,
    study_argument,
)
from wherefrom.cli.options import FILE, ConfigCommand
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.payout import PayoutConfig
    from wherefrom.credit.result import Shares


def _policies() -> Mapping[str, PayoutConfig]:
    from wherefrom.credit.payout import PayoutConfig

    return {"default": PayoutConfig()}


@click.command(cls=ConfigCommand, presets=_policies)
@study_argument
@click.option("--pool", help="How much is divided, as in 10000.00.")
@click.option("--currency", default="EUR", show_default=True, help="Three letters of ISO 4217.")
@property_option
@method_option
@level_option
@click.option("--last", type=FILE, help="Receipt of the last round, for held amounts and debts.")
@click.option("--out", type=FILE, help="A new folder for receipt.json, payout.csv, payout.html.")
@click.option("--check", type=FILE, help="Instead: make this receipt again and compare.")
@device_option
@json_option
@click.pass_obj
def payout(
    session: Session,
    *,
    study: Path,
    pool: str | None,
    currency: str,
    name: str | None,
    method: str,
    level: float,
    last: Path | None,
    out: Path | None,
    check: Path | None,
    device: str,
    as_json: bool,
    config: PayoutConfig,
) -> None:
    """Divide a pool of money by the shares; cents add up to the pool exactly.

    \b
    Example:
      wherefrom credit payout study.toml --pool 10000.00 --currency EUR --out round1
    """
    from wherefrom.core.store import refuse_existing
    from wherefrom.credit.receipt import balances_of, compare_receipts, read_receipt
    from wherefrom.report.credit_tables import payout_table

    if (pool is None) == (check is None):
        raise InputError("give --pool to divide money, or --check to make a receipt again")
    if out is not None:
        refuse_existing(out, overwrite=False)
    old = None if check is None else read_receipt(check)
    found = finished(session, study, name if old is None else settings_of(old)["property"], device)
    if old is not None:
        new, _, _ = divided(found, settings_of(old))
        broken = compare_receipts(old, new)
        if broken:
            raise InputError(
                f"{check} is whole, but the study gives another record {broken!r} now; "
                "runs or data have changed since it was written"
            )
        click.echo(f"{check} is whole, and the study gives the same: {new['chain'][-1]['digest']}")
        return
    settings = {
        "property": found.name,
        "pool": pool,
        "currency": currency,
        "method": method,
        "level": level,
        "policy": config.to_dict(),
        "balances": {} if last is None else balances_of(read_receipt(last)),
    }
    receipt, shares, divided_pool = divided(found, settings)
    if out is not None:
        save_payout(out, receipt, shares, divided_pool, found)
        session.note(f"saved {out}")
    if as_json:
        print_json(receipt)
        return
    session.note(f"chain of digests ends in {receipt['chain'][-1]['digest']}")
    print_table(payout_table(divided_pool))


def settings_of(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What a payout was asked for."""
    return dict(receipt["records"]["payout"]["settings"])


def divided(found: Finished, settings: Mapping[str, Any]) -> tuple[dict[str, Any], Shares, Any]:
    """The receipt, the shares and the payout for settings."""
    from wherefrom.credit.payout import PayoutConfig, divide_pool
    from wherefrom.credit.receipt import make_receipt

    credit = found.credit(settings["method"], level=settings["level"])
    shares, names = credit.shares, credit.names
    money = divide_pool(
        shares,
        names,
        settings["pool"],
        currency=settings["currency"],
        config=PayoutConfig.from_dict(settings["policy"]),
        balances=settings["balances"],
    )
    identity = found.opened.identity
    receipt = make_receipt(
        contributors=names,
        game={"digest": identity.digest, "players": identity.players, "spec": dict(identity.spec)},
        measured={"name": found.name, "spec": dict(found.opened.specs[found.name])},
        table=found.table,
        shares=shares,
        payout=money,
        settings=settings,
    )
    return receipt, shares, money


def save_payout(
    out: Path, receipt: Mapping[str, Any], shares: Shares, money: Any, found: Finished
) -> None:
    """The receipt, the table and the page, in a folder that is there whole or not at all."""
    from wherefrom.core.store import scratch_beside, write_file
    from wherefrom.report.credit import write_credit_report
    from wherefrom.report.credit_tables import payout_table
    from wherefrom.report.tables import to_csv

    with scratch_beside(out) as scratch:
        text = json.dumps(receipt, indent=1, allow_nan=False, ensure_ascii=False)
        write_file(scratch / "receipt.json", text.encode())
        write_file(scratch / "payout.csv", to_csv(payout_table(money)).encode())
        page = scratch / "payout.html"
        names = [payment.name for payment in money.payments]
        write_credit_report(page, shares, names, basis=basis_of(found), payout=money)
