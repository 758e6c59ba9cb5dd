"""`wherefrom credit`: plan and report, and what all commands on finished runs share."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console.options import FILE, resolve_device
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.credit.foresight import tell_cost, tell_gain
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.estimators.choose import Credit
    from wherefrom.credit.game import RunTable
    from wherefrom.credit.method import OpenStudy
    from wherefrom.credit.result import Shares

    Named = tuple[Shares, tuple[str, ...]]

START_WEIGHT = "weight of the starting weights in the average of a run"

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
    help="auto, paired, exact, kernelshap, permutation, banzhaf, loo or owen.",
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

    def credit(self, method: str, *, level: float, accept_shrinkage: bool = False) -> Credit:
        """Shares by a method; in the design owen those of the unions, with the players inside."""
        from wherefrom.credit.estimators.choose import estimate_credit

        return estimate_credit(
            self.table,
            self.names,
            method,
            unions=self.opened.data.unions,
            level=level,
            accept_shrinkage=accept_shrinkage,
        )


def opened_study(session: Session, study: Path, device: str, *, fresh: bool = False) -> OpenStudy:
    """A study whose ledger is there, opened without training; a `fresh` one is made ready."""
    from wherefrom.credit.method import open_study
    from wherefrom.credit.study.file import load_study

    ledger = load_study(study).ledger
    if not fresh and not ledger.exists():
        raise InputError(f"there is no ledger {ledger}; run the study first")
    return open_study(study, device=resolve_device(device), train=fresh, track=session.track)


def finished(session: Session, study: Path, name: str | None, device: str) -> Finished:
    """Read a study's ledger."""
    return read(opened_study(session, study, device), name)


def read(opened: OpenStudy, name: str | None) -> Finished:
    """The finished runs of a property that shares rest on, by default the study's first."""
    from wherefrom.credit.evaluation.lds import without_evaluation

    chosen = next(iter(opened.specs)) if name is None else name
    if chosen not in opened.specs:
        raise InputError(
            f"the study measures no property {chosen!r}; it has {', '.join(opened.specs)}"
        )
    with opened.ledger(readonly=True) as ledger:
        table = ledger.runs(chosen)
        spent = [detail.get("seconds") for _, run, detail in ledger.details() if run.values]
        failed = [each.error for each in ledger.problems() if each.what in (chosen, "run")]
    if failed and not len(table.values):
        raise InputError(f"no run has a value of {chosen!r}; the first problem was: {failed[0]}")
    timed = [sum(each.values()) for each in spent if each]
    seconds = sum(timed) / len(timed) if timed else None
    return Finished(
        opened, chosen, without_evaluation(table, opened.study.config.study.seed), seconds
    )


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

    Before there are runs it says what the study costs, from a few timed steps, and trains nothing.

    \b
    Example:
      wherefrom credit plan study.toml --pilot
    """
    from wherefrom.credit.estimators.planning import pilot_size, plan_runs
    from wherefrom.credit.method import open_study, run_study
    from wherefrom.credit.remarks import shared_lines
    from wherefrom.credit.study.file import load_study
    from wherefrom.report.credit.tables import plan_table

    place, loaded = resolve_device(device), load_study(study)
    if (pilot or not loaded.ledger.exists()) and loaded.config.game.kind != "callable":
        data = loaded.contributors(track=session.track)
        cost = tell_cost(session, loaded, data, place, quiet_table=pilot or as_json)
        if not pilot:
            if as_json:
                told = {"players": data.players, "cost": cost.to_dict()}
                print_json(told | {"same images": data.shared})
            for line in shared_lines(data):
                session.note(line)
            return
    if pilot:
        opened = open_study(study, device=place, track=session.track)
        count = pilot_size(opened.data.players)
        tell_gain(session, opened)
        session.note(f"making the pilot: {len(opened.design().take(count))} runs")
        run_study(opened, runs=count, devices=(place,), track=session.track)
        found = read(opened, name)
    else:
        found = finished(session, study, name, device)
    if found.opened.data.unions:
        raise InputError(
            "plan foresees the paired design, and this study has the design owen; plan it with the "
            "design paired first"
        )
    planned = plan_runs(found.table, budgets, level=level, seconds_per_run=found.seconds)
    if as_json:
        print_json(planned.to_dict() | {"same images": found.opened.data.shared})
        return
    for line in shared_lines(found.opened.data):
        session.note(line)
    session.note(
        f"{planned.players} contributors, pilot of {planned.pilot_runs} runs; "
        f"equal split {planned.equal_split:.4g}, spread of a half difference {planned.spread:.4g}"
    )
    session.note(planned.about_gain())
    print_table(plan_table(planned))


@click.command()
@study_argument
@property_option
@method_option
@level_option
@shrinkage_option
@click.option("--html", type=FILE, help="Write one self-contained page with pictures.")
@click.option("--csv", "csv_path", type=FILE, help="Write the table with unrounded numbers.")
@click.option(
    "--groups",
    help="Sums for groups too: how many groups of like data, or a CSV of contributor and group.",
)
@click.option(
    "--run", "make", is_flag=True, help="Make the runs first whose images the page shows."
)
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
    groups: str | None,
    make: bool,
    device: str,
    as_json: bool,
) -> None:
    """Show each contributor's share, with intervals that hold for all at once.

    Works at any time, also while runs are made.  The intervals are for one look at a number of runs
    that was fixed beforehand: whoever looks often and stops where it pleases is wrong more often.
    The page shows the top contributors' images, and
    what the model makes with all, without the top and with only the top: three runs, which --run
    makes where they are missing.

    \b
    Example:
      wherefrom credit report study.toml --html shares.html --run
    """
    from wherefrom.credit.evaluation.portrait import make_scenes
    from wherefrom.credit.remarks import division_lines, study_remarks
    from wherefrom.report.credit.tables import shares_line, shares_table
    from wherefrom.report.pages.files import check_target, write_text
    from wherefrom.report.pages.tables import to_csv

    if html is not None:
        check_target(html, option="--html", suffixes=(".html", ".htm"))
    if csv_path is not None:
        check_target(csv_path, option="--csv", suffixes=(".csv",))
    if make and html is None:
        raise InputError("--run makes the runs that a page shows; give --html too")
    found = finished(session, study, name, device)
    credit = found.credit(method, level=level, accept_shrinkage=accept_shrinkage)
    shares, inside, players = credit.shares, credit.inside, credit.players
    if make and found.opened.lab is not None:
        place = resolve_device(device)
        make_scenes(found.opened, players.shares.values, device=place, track=session.track)
    table = shares_table(shares, credit.names)
    sums = None if groups is None else _group_sums(found, groups, players.shares, level)
    if csv_path is not None:
        write_text(csv_path, to_csv(table))
        session.note(f"wrote {csv_path}")
    remarks = [*study_remarks(found.opened), *division_lines(found.opened, shares)]
    if html is not None:
        again = ["wherefrom", "credit", "report", str(study), "--html", str(html), "--run"]
        again += [] if name is None else ["--property", name]
        whole = _write_page(html, found, credit, sums, remarks, shlex.join(again))
        session.note(f"wrote {html}")
        if not whole:
            session.note(f"some pictures are of runs that are not made: {shlex.join(again)}")
    if as_json:
        print_json(_as_json(found, credit, sums, remarks))
        return
    session.note(f"{found.name}: {shares_line(shares)}")
    for note in (*remarks, *shares.notes):
        session.note(note)
    print_table(table)
    more = [] if inside is None else [(inside.shares, inside.names)]
    for each in [*more, *([] if sums is None else [sums])]:
        click.echo()
        print_table(shares_table(*each))


def _write_page(
    path: Path,
    found: Finished,
    credit: Credit,
    sums: Named | None,
    remarks: list[str],
    again: str,
) -> bool:
    """Write the HTML page; whether every model's images are there, which `again` makes."""
    from wherefrom.credit.evaluation.portrait import portray
    from wherefrom.report.credit.page import inside_section, write_credit_report
    from wherefrom.report.credit.pictures import picture_sections
    from wherefrom.report.credit.tables import shares_table

    players, inside = credit.players, credit.inside
    portrait = portray(found.opened, found.name, players.shares.values)
    pictures = picture_sections(portrait, players.shares, players.names, command=again)
    sections = [] if inside is None else [inside_section(inside.shares, inside.names)]
    write_credit_report(
        path,
        credit.shares,
        credit.names,
        basis=basis_of(found),
        more=[*sections, *pictures],
        groups=None if sums is None else shares_table(*sums),
        remarks=remarks,
    )
    return portrait.complete


def _as_json(
    found: Finished, credit: Credit, sums: Named | None, remarks: list[str]
) -> dict[str, Any]:
    told = {"property": found.name, "contributors": credit.names, **credit.shares.to_dict()}
    told |= {"remarks": remarks, **told_of(found)}
    if sums is not None:
        told["groups"] = {"names": sums[1], **sums[0].to_dict()}
    if credit.inside is not None:
        inside, unions = credit.inside, found.opened.data.unions
        told["inside"] = {"names": inside.names, "unions": unions, **inside.shares.to_dict()}
    return told


def _group_sums(found: Finished, asked: str, shares: Shares, level: float) -> Named:
    """What groups of contributors get together, and the groups' names."""
    from wherefrom.credit.contributors.grouping import choose_groups
    from wherefrom.credit.estimators.owen import group_sums
    from wherefrom.credit.properties import PixelEmbedder

    lab = found.opened.lab
    embedder = PixelEmbedder() if lab is None else lab.describing_encoder()
    groups, names = choose_groups(asked, found.opened.data, embedder)
    return group_sums(shares, groups, level=level), names


def basis_of(found: Finished) -> dict[str, Any]:
    """What the shares rest on, without the recipe's length."""
    opened = found.opened
    return {
        "study": str(opened.study.path),
        "game": opened.identity.name,
        "game digest": opened.identity.digest,
        "property": dict(opened.specs[found.name]),
        "runs with a value": len(found.table.values),
        **told_of(found),
        "data": dict(opened.identity.spec.get("data", {})),
    }


def told_of(found: Finished) -> dict[str, Any]:
    """Who the players are, who gave the same images, and how much runs average their start in."""
    from wherefrom.credit.remarks import start_weight_of

    data = found.opened.data
    with found.opened.ledger(readonly=True) as ledger:
        start = start_weight_of(ledger.details())
    facts: dict[str, Any] = {START_WEIGHT: None if start is None else start._asdict()}
    facts["same images"] = [list(pair) for pair in data.shared]
    if data.origin is None:
        return facts
    members = {name: list(given) for name, given in data.members().items()}
    return facts | {"players": {"are": data.seating, "members": members}}
