"""`wherefrom credit`: plan and report, and what all commands on finished runs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console import Session, print_json, print_table
from wherefrom.cli.options import FILE, resolve_device
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.game import RunTable
    from wherefrom.credit.method import OpenStudy

study_argument = click.argument("study", type=FILE)
property_option = click.option(
    "--property", "name", help="Which property; default: the study's first."
)
level_option = click.option(
    "--level", default=0.95, show_default=True, help="Probability that all intervals hold at once."
)
method_option = click.option(
    "--method",
    default="auto",
    show_default=True,
    help="auto, paired, exact, kernelshap, permutation, banzhaf or loo.",
)
shrinkage_option = click.option(
    "--accept-shrinkage",
    is_flag=True,
    help="Allow fewer than 2(n-1) runs: shares are then drawn toward the equal split.",
)
device_option = click.option("--device", default="auto", show_default=True, help="Of the models.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")


@dataclass(frozen=True)
class Finished:
    """The runs of one property of a study, and the mean seconds of a run (None: not timed)."""

    opened: OpenStudy
    name: str
    table: RunTable
    seconds: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """The contributors."""
        return self.opened.data.names


def finished(session: Session, study: Path, name: str | None, device: str) -> Finished:
    """Read a study's ledger."""
    from wherefrom.credit.method import open_study

    opened = open_study(study, device=resolve_device(device), track=session.track)
    return read(opened, name)


def read(opened: OpenStudy, name: str | None) -> Finished:
    """The finished runs of a property, by default the study's first."""
    chosen = next(iter(opened.specs)) if name is None else name
    if not opened.study.ledger.exists():
        raise InputError(f"there is no ledger {opened.study.ledger}; run the study first")
    with opened.ledger(readonly=True) as ledger:
        table = ledger.runs(chosen)
        spent = [detail.get("seconds") for _, run, detail in ledger.details() if run.values]
    timed = [sum(each.values()) for each in spent if each]
    return Finished(opened, chosen, table, sum(timed) / len(timed) if timed else None)


@click.command()
@study_argument
@property_option
@click.option("--pilot", is_flag=True, help="Make the pilot's runs first: 4 for each contributor.")
@click.option("--runs", "budgets", type=click.IntRange(min=4), multiple=True, help="A budget.")
@level_option
@device_option
@json_option
@click.pass_obj
def plan(
    session: Session,
    *,
    study: Path,
    name: str | None,
    pilot: bool,
    budgets: tuple[int, ...],
    level: float,
    device: str,
    as_json: bool,
) -> None:
    """Say how wide the intervals would be for a number of runs, and how many hours they take.

    \b
    Example:
      wherefrom credit plan study.toml --pilot
    """
    from wherefrom.credit.method import open_study, run_study
    from wherefrom.credit.planning import pilot_size, plan_runs
    from wherefrom.report.credit_tables import plan_table

    place = resolve_device(device)
    opened = open_study(study, device=place, track=session.track)
    if pilot:
        count = pilot_size(opened.data.players)
        run_study(opened, runs=count, devices=(place,), track=session.track)
    found = read(opened, name)
    planned = plan_runs(found.table, budgets, level=level, seconds_per_run=found.seconds)
    if as_json:
        print_json(planned.to_dict())
        return
    session.note(
        f"{planned.players} contributors, pilot of {planned.pilot_runs} runs; "
        f"equal split {planned.equal_split:.4g}, spread of a half difference {planned.spread:.4g}"
    )
    print_table(plan_table(planned))


@click.command()
@study_argument
@property_option
@method_option
@level_option
@shrinkage_option
@click.option("--html", type=FILE, help="Write one self-contained page.")
@click.option("--csv", "csv_path", type=FILE, help="Write the table with unrounded numbers.")
@device_option
@json_option
@click.pass_obj
def report(
    session: Session,
    *,
    study: Path,
    name: str | None,
    method: str,
    level: float,
    accept_shrinkage: bool,
    html: Path | None,
    csv_path: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Show each contributor's share, with intervals that hold for all at once.

    Works at any time, also while runs are made.

    \b
    Example:
      wherefrom credit report study.toml --html shares.html
    """
    from wherefrom.credit.estimate import estimate
    from wherefrom.report.credit import write_credit_report
    from wherefrom.report.credit_tables import shares_line, shares_table
    from wherefrom.report.files import check_target, write_text
    from wherefrom.report.tables import to_csv

    if html is not None:
        check_target(html, option="--html", suffixes=(".html", ".htm"))
    if csv_path is not None:
        check_target(csv_path, option="--csv", suffixes=(".csv",))
    found = finished(session, study, name, device)
    shares = estimate(found.table, method, level=level, accept_shrinkage=accept_shrinkage)
    table = shares_table(shares, found.names)
    if csv_path is not None:
        write_text(csv_path, to_csv(table))
        session.note(f"wrote {csv_path}")
    if html is not None:
        write_credit_report(html, shares, found.names, basis=basis_of(found))
        session.note(f"wrote {html}")
    if as_json:
        print_json({"property": found.name, "contributors": found.names, **shares.to_dict()})
        return
    session.note(f"{found.name}: {shares_line(shares)}")
    for note in shares.notes:
        session.note(note)
    print_table(table)


def basis_of(found: Finished) -> dict[str, Any]:
    """What the shares rest on, without the recipe's length."""
    opened = found.opened
    return {
        "study": str(opened.study.path),
        "game": opened.identity.name,
        "game digest": opened.identity.digest,
        "property": dict(opened.specs[found.name]),
        "runs with a value": len(found.table.values),
        "data": dict(opened.identity.spec.get("data", {})),
    }
