"""`wherefrom credit divide`, `settle` and `verify`: money, and the receipt behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.credit.results import (
    StudyOptions,
    device_option,
    method_option,
    opened_study,
    study_argument,
)
from wherefrom.report.pages.tables import plural

if TYPE_CHECKING:
    from wherefrom.credit.payout.division import PayoutConfig
    from wherefrom.credit.payout.of_study import StudyPayout


receipt_argument = click.argument("receipt", type=cli.FILE)
out_option = click.option(
    "--out", type=cli.FILE, help="A new folder for receipt.json, payout.csv and payout.html."
)


@dataclass(frozen=True, kw_only=True)
class DivideOptions(StudyOptions):
    """The options of `credit divide`."""

    pool: str = cli.option("The amount to divide, as in 10000.00.", required=True, before="name")
    currency: str = cli.option("Its three letters of ISO 4217.", "EUR", before="name")
    method: str = cli.use(method_option, before="level")
    last: Path | None = cli.option("Receipt of the last round, for held amounts and debts.")
    out: Path | None = cli.use(out_option)
    config: PayoutConfig


@click.command(cls=cli.ConfigCommand, presets=cli.default_of("credit.payout.division:PayoutConfig"))
@cli.with_options(DivideOptions)
def divide(session: Session, options: DivideOptions) -> None:
    """Divide a pool of money by the shares; cents add up to the pool exactly.

    \b
    Example:
      wherefrom credit divide study.toml --pool 10000.00 --currency EUR --out round1
    """
    from wherefrom.core.saving.store import refuse_existing
    from wherefrom.credit.payout import of_study
    from wherefrom.credit.payout.receipt import balances_of, read_receipt

    o = options
    if o.out is not None:
        refuse_existing(o.out, overwrite=False)
    terms = of_study.Terms(
        pool=o.pool,
        currency=o.currency,
        method=o.method,
        level=o.level,
        policy=o.config,
        balances={} if o.last is None else balances_of(read_receipt(o.last)),
    )
    paid = of_study.divide(o.finished(session), terms)
    _show(session, paid, o.out, as_json=o.as_json)


@click.command()
@study_argument
@receipt_argument
@out_option
@device_option
@cli.json_option
@click.pass_obj
def settle(
    session: Session, *, study: Path, receipt: Path, out: Path | None, device: str, as_json: bool
) -> None:
    """Pay what the escrow of RECEIPT has released, by the runs that were made since.

    The terms are those of RECEIPT.  The number of runs must have been fixed before they were made.

    \b
    Example:
      wherefrom credit settle study.toml round1/receipt.json --out round1b
    """
    from wherefrom.core.saving.store import refuse_existing
    from wherefrom.credit.payout import of_study
    from wherefrom.credit.payout.receipt import read_receipt

    if out is not None:
        refuse_existing(out, overwrite=False)
    old = read_receipt(receipt)
    paid = of_study.settle(opened_study(session, study, device), old)
    _show(session, paid, out, settles=receipt, as_json=as_json)


@click.command()
@study_argument
@receipt_argument
@device_option
@cli.json_option
@click.pass_obj
def verify(session: Session, *, study: Path, receipt: Path, device: str, as_json: bool) -> None:
    """Make RECEIPT again from the runs it rests on, and compare every record.

    \b
    Example:
      wherefrom credit verify study.toml round1/receipt.json
    """
    from wherefrom.credit.payout import of_study
    from wherefrom.credit.payout.receipt import read_receipt

    old = read_receipt(receipt)
    verified = of_study.verify(opened_study(session, study, device), old, receipt.parent)
    if as_json:
        print_json(verified._asdict())
        return
    if verified.later_runs > 0:
        session.note(
            f"it rests on {plural(verified.runs, 'run')}; {verified.later_runs} made since change "
            "nothing in it"
        )
    beside = f", and so are {' and '.join(verified.files)} beside it" if verified.files else ""
    click.echo(f"{receipt} is whole{beside}; the study gives the same: {verified.digest}")


def _show(
    session: Session,
    paid: StudyPayout,
    out: Path | None,
    *,
    settles: Path | None = None,
    as_json: bool,
) -> None:
    """Save a payout where a folder is named, and print it."""
    from wherefrom.report.credit.page import write_payout
    from wherefrom.report.credit.tables import payout_table

    receipt = paid.receipt
    if out is not None:
        receipt = write_payout(out, paid, settles=settles)
        session.note(f"saved {out}")
    if as_json:
        print_json(receipt)
        return
    for note in paid.shares.notes:
        session.note(note)
    session.note(f"chain of digests ends in {receipt['chain'][-1]['digest']}")
    print_table(payout_table(paid.payout))
