"""`wherefrom credit payout`: money, and the receipt behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from wherefrom.cli.console.options import DEST, FILE, ConfigCommand
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.credit.results import (
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
from wherefrom.core.errors import InputError
from wherefrom.report.pages.text import plural

if TYPE_CHECKING:
    from wherefrom.credit.payout.division import PayoutConfig
    from wherefrom.credit.result import Shares


def _policies() -> Mapping[str, PayoutConfig]:
    from wherefrom.credit.payout.division import PayoutConfig

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
@click.option("--settle", type=FILE, help="Instead: pay what this receipt's escrow has released.")
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
    settle: Path | None,
    device: str,
    as_json: bool,
    config: PayoutConfig,
) -> None:
    """Divide a pool of money by the shares; cents add up to the pool exactly.

    \b
    Example:
      wherefrom credit payout study.toml --pool 10000.00 --currency EUR --out round1
      wherefrom credit payout study.toml --settle round1/receipt.json --out round1b
    """
    from wherefrom.core.store import refuse_existing
    from wherefrom.credit.payout.receipt import balances_of, read_receipt
    from wherefrom.credit.payout.settlement import earlier_of
    from wherefrom.report.credit.tables import payout_table

    if [pool, check, settle].count(None) != 2:
        raise InputError(
            "give --pool to divide money, --settle to pay what waited in escrow, or --check to "
            "make a receipt again; one of the three"
        )
    if check is not None:
        _refuse_given("--check", "out")
        check_receipt(session, study, check, device, as_json=as_json)
        return
    if out is not None:
        refuse_existing(out, overwrite=False)
    old: dict[str, Any] | None = None
    if settle is not None:
        _refuse_given("--settle")
        found, settings, old = settled_terms(session, study, settle, device)
    else:
        found = finished(session, study, name, device)
        settings = {
            "property": found.name,
            "pool": pool,
            "currency": currency,
            "method": method,
            "level": level,
            "policy": config.to_dict(),
            "balances": {} if last is None else balances_of(read_receipt(last)),
        }
    receipt, shares, money = divided(found, settings, {} if old is None else earlier_of(old))
    if out is not None:
        receipt = save_payout(out, receipt, shares, money, found, settles=settle)
        session.note(f"saved {out}")
    if as_json:
        print_json(receipt)
        return
    for note in shares.notes:
        session.note(note)
    session.note(f"chain of digests ends in {receipt['chain'][-1]['digest']}")
    print_table(payout_table(money))


def settled_terms(
    session: Session, study: Path, path: Path, device: str
) -> tuple[Finished, dict[str, Any], dict[str, Any]]:
    """The study's runs, the settings of a receipt that may be settled, and the receipt."""
    from wherefrom.credit.payout.receipt import read_receipt, settings_of
    from wherefrom.credit.payout.settlement import require_new_runs, require_same_study

    old = read_receipt(path)
    settings = settings_of(old)
    found = finished(session, study, settings["property"], device)
    require_same_study(old, study_records(found))
    with found.opened.ledger(readonly=True) as ledger:
        require_new_runs(old, ledger.runs(found.name), found.table)
    return found, settings, old


def _refuse_given(option: str, *more: str) -> None:
    """An `InputError` for what was given beside an option that takes it from a receipt."""
    context = click.get_current_context()
    taken = {"pool", "currency", "name", "method", "level", "last", *more}
    for each in context.command.get_params(context):
        derived = str(each.name).startswith(f"{DEST}__")
        given = context.get_parameter_source(str(each.name)) is ParameterSource.COMMANDLINE
        if given and (derived or each.name in taken):
            raise InputError(
                f"{option} takes what it needs from the receipt; leave out {each.opts[0]}"
            )


def check_receipt(session: Session, study: Path, path: Path, device: str, *, as_json: bool) -> None:
    """Make a receipt again from the runs it rests on; an `InputError` where it differs."""
    from wherefrom.credit.payout.receipt import (
        check_files,
        compare_receipts,
        read_receipt,
        runs_of,
        settings_of,
    )
    from wherefrom.credit.payout.settlement import check_settled

    old = read_receipt(path)
    beside = check_files(old, path.parent)
    check_settled(old, path.parent)
    found = finished(session, study, settings_of(old)["property"], device)
    with found.opened.ledger(readonly=True) as ledger:
        rests_on = replace(found, table=runs_of(old, ledger.runs(found.name)))
    new, _, _ = divided(rests_on, settings_of(old), old["records"]["earlier"])
    broken = compare_receipts(old, new)
    if broken:
        raise InputError(
            f"{path} is whole, but the study gives another record {broken!r} for the same runs; "
            "the data, the recipe or the program are not those it was written with"
        )
    digest, runs = old["chain"][-1]["digest"], len(rests_on.table.values)
    later = len(found.table.values) - runs
    if as_json:
        print_json({"digest": digest, "runs": runs, "later_runs": later, "files": beside})
        return
    if later > 0:
        session.note(f"it rests on {plural(runs, 'run')}; {later} made since change nothing in it")
    files = f", and so are {' and '.join(beside)} beside it" if beside else ""
    click.echo(f"{path} is whole{files}; the study gives the same: {digest}")


def study_records(found: Finished) -> dict[str, Any]:
    """The records of a receipt that say which study it is of."""
    identity = found.opened.identity
    return {
        "contributors": list(dict.fromkeys(found.opened.data.unions) or found.names),
        "game": {
            "digest": identity.digest,
            "players": identity.players,
            "spec": dict(identity.spec),
        },
        "property": {"name": found.name, "spec": dict(found.opened.specs[found.name])},
    }


def divided(
    found: Finished, settings: Mapping[str, Any], earlier: Mapping[str, Any]
) -> tuple[dict[str, Any], Shares, Any]:
    """The receipt, the shares and the payout for settings; `earlier` of what is settled."""
    from wherefrom.credit.payout.division import PayoutConfig, divide_pool
    from wherefrom.credit.payout.receipt import make_receipt, runs_digest
    from wherefrom.credit.payout.settlement import look_after
    from wherefrom.credit.remarks import division_lines, shared_lines

    credit = found.credit(settings["method"], level=settings["level"])
    opened = found.opened
    notes = (
        *credit.shares.notes,
        *division_lines(opened, credit.shares),
        *shared_lines(opened.data),
    )
    shares = replace(credit.shares, notes=notes)
    money = divide_pool(
        shares,
        credit.names,
        settings["pool"],
        currency=settings["currency"],
        config=PayoutConfig.from_dict(settings["policy"]),
        balances=settings["balances"],
        paid=earlier.get("paid"),
        look=look_after(earlier),
        lot=runs_digest(found.table),
    )
    records = study_records(found)
    receipt = make_receipt(
        contributors=records["contributors"],
        game=records["game"],
        measured=records["property"],
        table=found.table,
        shares=shares,
        payout=money,
        settings=settings,
        earlier=earlier,
    )
    return receipt, shares, money


def save_payout(
    out: Path,
    receipt: Mapping[str, Any],
    shares: Shares,
    money: Any,
    found: Finished,
    *,
    settles: Path | None = None,
) -> dict[str, Any]:
    """The receipt, the table, the page and a copy of the receipt that it settles, in a folder that
    is there whole or not at all.  Returns the receipt with the digests of the files.
    """
    from wherefrom.core.store import scratch_beside, write_file
    from wherefrom.credit.payout.receipt import FILES, SETTLED, with_files
    from wherefrom.report.credit.page import write_credit_report
    from wherefrom.report.credit.tables import payout_table
    from wherefrom.report.pages.tables import to_csv

    with scratch_beside(out) as scratch:
        write_file(scratch / "payout.csv", to_csv(payout_table(money)).encode())
        basis, earlier = basis_of(found), receipt["records"]["earlier"]
        if settles is not None:
            write_file(scratch / SETTLED, settles.read_bytes())
            basis |= {"settles the receipt": earlier["digest"]}
        page = scratch / "payout.html"
        names = [payment.name for payment in money.payments]
        write_credit_report(page, shares, names, basis=basis, payout=money)
        written = [scratch / name for name in FILES if (scratch / name).exists()]
        whole = with_files(receipt, {path.name: path.read_bytes() for path in written})
        text = json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False)
        write_file(scratch / "receipt.json", text.encode())
    return whole
