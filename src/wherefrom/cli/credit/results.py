"""`wherefrom credit`: plan and report, and what all commands on finished runs share."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.credit.contributors.reading import Contributors
    from wherefrom.credit.method import FinishedRuns, OpenStudy
    from wherefrom.credit.study.cost import Cost
    from wherefrom.credit.study.file import Study

MEGABYTE = 10**6
study_argument = click.argument("study", type=cli.FILE)
property_option = click.option(
    "--property", "name", help="The property to use; default: the study's first."
)
level_option = click.option(
    "--level", default=0.95, help="Probability that all intervals hold at once."
)
method_option = click.option(
    "--method",
    default="auto",
    help="Estimator: auto, paired, exact, kernelshap, permutation, banzhaf, loo, owen, trees or "
    "paired-trees.",
)
shrinkage_option = click.option(
    "--accept-shrinkage",
    is_flag=True,
    help="Allow fewer than 2(n-1) runs: shares are then drawn toward the equal split.",
)
device_option = click.option(
    "--device", default="auto", help="Where models are computed, as in cuda:0."
)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The options of every command on the finished runs of a study."""

    LAST: ClassVar[tuple[str, ...]] = ("device", "as_json")
    study: Path = cli.use(study_argument)
    name: str | None = cli.use(property_option)
    level: float = cli.use(level_option)
    device: str = cli.use(device_option)
    as_json: bool = cli.use(cli.json_option)

    def finished(self, session: Session) -> FinishedRuns:
        """The finished runs of the property, of a study that has a ledger."""
        return finished(session, self.study, self.name, self.device)


def opened_study(session: Session, study: Path, device: str, *, fresh: bool = False) -> OpenStudy:
    """A study whose ledger is there, opened without training; a `fresh` one is made ready."""
    from wherefrom.credit.method import open_study
    from wherefrom.credit.study.file import load_study

    ledger = load_study(study).ledger
    if not fresh and not ledger.exists():
        raise InputError(f"there is no ledger {ledger}; run the study first")
    return open_study(study, device=cli.resolve_device(device), train=fresh, track=session.track)


def finished(session: Session, study: Path, name: str | None, device: str) -> FinishedRuns:
    """The finished runs of a property of a study that has a ledger."""
    from wherefrom.credit.method import finished_runs

    return finished_runs(opened_study(session, study, device), name)


def tell_gain(session: Session, opened: OpenStudy) -> None:
    """Note the expected gain of each property, unless runs are finished."""
    from wherefrom.credit.evaluation.foresight import foresee_gain

    with opened.ledger() as ledger:
        if ledger.counts()["done"]:
            return
    for forecast in foresee_gain(opened, track=session.track):
        session.note(forecast.line(opened.study.config.game.empty))


def tell_cost(
    session: Session, study: Study, data: Contributors, device: str, *, quiet_table: bool
) -> Cost:
    """Measure the cost of a study, and note it."""
    from wherefrom.credit.estimators.design import anchor_rounds
    from wherefrom.credit.estimators.planning import pilot_size
    from wherefrom.credit.study.cost import LIMIT, measure_cost
    from wherefrom.report.credit.tables import cost_table

    session.note(f"timing a few steps on {device}, for about {LIMIT:g} s; nothing is trained")
    cost = measure_cost(study, data, device=device, track=session.track)
    design = study.config.design
    own, rounds = anchor_rounds(design.kind, design.anchors, payout=design.payout)
    more = 2 * (rounds - own)  # anchors that come on top
    runs = pilot_size(data.players) + more
    pruned = "" if cost.pruned is None else f", {cost.pruned:,} after pruning"
    session.note(
        f"{data.players} contributors, {len(data.images)} images; {cost.parameters:,} trained "
        f"numbers{pruned}; timed in {cost.spent:.0f} s with batches of up to "
        f"{cost.largest}, larger ones in proportion, scoring left out; a run takes "
        f"{cost.bytes_per_run / MEGABYTE:.2g} MB on the disk"
    )
    session.note(
        f"until the pilot's {runs} runs are made: about {cost.hours(runs):.2g} hours; "
        "--pilot makes them, and then says how wide the intervals would be"
    )
    session.note(f"the empty and the full set are run {rounds} times each (`anchors` in [design])")
    if not quiet_table:
        print_table(cost_table(cost, {runs, design.runs + more}))
    return cost


@click.command()
@study_argument
@property_option
@click.option("--pilot", is_flag=True, help="Make the pilot's runs first: 4 for each contributor.")
@click.option(
    "--runs",
    "budgets",
    type=click.IntRange(min=4),
    multiple=True,
    help="A number of runs to plan for; repeatable.",
)
@level_option
@device_option
@cli.json_option
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
    """Say how wide the intervals would be for a number of runs, what they pay, and what they cost.

    Before there are runs it says what the study costs, from a few timed steps, and trains nothing.
    With --pilot it recommends a property, an estimator and a game, each with its reason.

    \b
    Example:
      wherefrom credit plan study.toml --pilot
    """
    from wherefrom.credit.estimators.planning import pilot_size
    from wherefrom.credit.evaluation.foresight import COST, INTERVALS, PILOT, plan_steps
    from wherefrom.credit.evaluation.remarks import shared_lines
    from wherefrom.credit.method import finished_runs, open_study, run_study
    from wherefrom.credit.payout.forecast import forecast, recommend
    from wherefrom.credit.study.file import load_study
    from wherefrom.report.credit.tables import plan_table

    place, loaded = cli.resolve_device(device), load_study(study)
    steps, cost = plan_steps(loaded, pilot=pilot), None
    if COST in steps:
        data = loaded.contributors(track=session.track)
        cost = tell_cost(session, loaded, data, place, quiet_table=pilot or as_json)
        if INTERVALS not in steps:
            if as_json:
                facts = {"players": data.players, "same images": data.shared}
                print_json(facts | {"cost": cost.to_dict()})
            for line in shared_lines(data):
                session.note(line)
            return
    if PILOT in steps:
        opened = open_study(study, device=place, track=session.track)
        count = pilot_size(opened.data.players)
        tell_gain(session, opened)
        session.note(f"making the pilot: {len(opened.design().take(count))} runs")
        run_study(opened, runs=count, devices=(place,), track=session.track)
        runs = finished_runs(opened, name)
    else:
        runs = finished(session, study, name, device)
    planned = forecast(runs, budgets, level=level)
    advice = recommend(runs.opened, cost=cost, level=level) if pilot else ()
    if as_json:
        recommended = {"recommended": [each._asdict() for each in advice]} if pilot else {}
        facts = planned.to_dict() | {"same images": runs.opened.data.shared}
        print_json(facts | recommended)
        return
    for line in shared_lines(runs.opened.data):
        session.note(line)
    session.note(
        f"{planned.players} contributors, pilot of {planned.pilot_runs} runs; "
        f"equal split {planned.equal_split:.4g}, spread of a half difference {planned.spread:.4g}"
    )
    session.note(planned.about_gain())
    for row in planned.rows:
        if row.runs in (budgets or (loaded.config.design.runs,)):
            session.note(planned.verdict(row))
    for each in advice:
        session.note(each.line())
    print_table(plan_table(planned))


@dataclass(frozen=True, kw_only=True)
class ShareReportOptions(StudyOptions):
    """The options of `credit report`."""

    method: str = cli.use(method_option, before="level")
    accept_shrinkage: bool = cli.use(shrinkage_option)
    html: Path | None = cli.option("Write one self-contained page with pictures.")
    csv_path: Path | None = cli.option("Write the table with unrounded numbers.", flag="--csv")
    groups: str | None = cli.option(
        "Show sums of groups too: a number of groups of like data, or a CSV file of contributor "
        "and group."
    )
    make: bool = cli.option("Make the runs first whose images the page shows.", flag="--run")

    @property
    def command(self) -> str:
        """The command that makes the page with all its pictures."""
        words = ["wherefrom", "credit", "report", str(self.study), "--html", str(self.html)]
        words += ["--run"] if self.name is None else ["--run", "--property", self.name]
        return shlex.join(words)


@click.command()
@cli.with_options(ShareReportOptions)
def report(session: Session, options: ShareReportOptions) -> None:
    """Show each contributor's share, with intervals that hold for all at once.

    Works at any time, also while runs are made.  The intervals hold for one look at a number of
    runs that was fixed beforehand; looking often, and stopping at a pleasing result, makes errors
    more frequent.  The page shows the top contributors' images, and what the model makes with all,
    without the top and with only the top: three runs, which --run makes where they are missing.

    \b
    Example:
      wherefrom credit report study.toml --html shares.html --run
    """
    from wherefrom.credit.evaluation.portrait import make_scenes
    from wherefrom.report.credit.shares import report_shares, write_shares_page
    from wherefrom.report.credit.tables import shares_line
    from wherefrom.report.pages.files import write_text
    from wherefrom.report.pages.tables import to_csv

    o = options
    cli.check_output(o.html, "--html")
    cli.check_output(o.csv_path, "--csv", ".csv")
    if o.make and o.html is None:
        raise InputError("--run makes the runs that a page shows; give --html too")
    runs = o.finished(session)
    credit = runs.credit(o.method, level=o.level, accept_shrinkage=o.accept_shrinkage)
    if o.make:
        values, place = credit.players.shares.values, cli.resolve_device(o.device)
        make_scenes(runs.opened, values, device=place, track=session.track)
    shares = report_shares(runs, credit, groups=o.groups)
    first, *more = shares.tables()
    if o.csv_path is not None:
        write_text(o.csv_path, to_csv(first))
        session.note(f"wrote {o.csv_path}")
    if o.html is not None:
        complete = write_shares_page(o.html, shares, command=o.command)
        session.note(f"wrote {o.html}")
        if not complete:
            session.note(f"some pictures are of runs that are not made: {o.command}")
    if o.as_json:
        print_json(shares.to_dict())
        return
    session.note(f"{runs.name}: {shares_line(credit.shares)}")
    for note in (*shares.remarks, *credit.shares.notes):
        session.note(note)
    print_table(first)
    for table in more:
        click.echo()
        print_table(table)
