"""`wherefrom credit`: plan, run, merge, report, payout, audit, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wherefrom.cli.console.options import FILE, resolve_device
from wherefrom.cli.console.session import Session, print_facts, print_json
from wherefrom.cli.credit.checks import audit, evaluate
from wherefrom.cli.credit.foresight import tell_gain
from wherefrom.cli.credit.payout import payout
from wherefrom.cli.credit.results import (
    device_option,
    json_option,
    opened_study,
    plan,
    report,
    study_argument,
)
from wherefrom.core.errors import InputError
from wherefrom.report.pages.text import printable


@click.group()
def credit() -> None:
    """Who contributed how much to what my model does, and how is the money split?

    \b
    Example:
      wherefrom credit run study.toml
    """


@click.command()
@study_argument
@click.argument("others", type=FILE, nargs=-1, required=True)
@device_option
@json_option
@click.pass_obj
def merge(
    session: Session, *, study: Path, others: tuple[Path, ...], device: str, as_json: bool
) -> None:
    """Take over the runs that other sites made: OTHERS are ledgers of the same study.

    The order of merging changes nothing, and merging twice adds nothing.  The other ledgers stay
    as they are; nobody should be making runs in them.

    \b
    Example:
      wherefrom credit merge study.toml site2/study.ledger.sqlite
    """
    from wherefrom.credit.ledger.merging import merge_ledger

    opened = opened_study(session, study, device, fresh=True)
    told: list[dict[str, Any]] = []
    for other in others:
        with opened.ledger() as ledger:
            merged = merge_ledger(ledger, other)
        told.append({"ledger": str(other), **vars(merged)})
        if merged.disagreements:
            session.note(
                f"{other}: {merged.disagreements} values differ from those here, by up to "
                f"{merged.largest:.3g}; what was recorded first stands"
            )
        for name in merged.redefined:
            session.note(f"{other} measures {name} in another way; here it keeps its meaning")
    with opened.ledger(readonly=True) as ledger:
        counts = ledger.counts()
    if as_json:
        print_json({"merged": told, "runs": counts})
        return
    for row in told:
        session.note(
            f"{row['ledger']}: {row['runs']} runs new, {row['settled']} finished that were open "
            f"here, {row['scores']} values"
        )
    print_facts([(state, str(count), "") for state, count in counts.items() if count])


for command in (plan, report, merge, payout, audit, evaluate):
    credit.add_command(command)


@credit.command()
@click.argument("study", type=FILE)
@click.option("--runs", type=click.IntRange(min=1), help="How many; default: the study's.")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    help="local: processes of this machine; ray: the machines of a Ray cluster.",
)
@click.option(
    "--devices",
    default="auto",
    show_default=True,
    help="One worker for each, separated by commas, as in cuda:0,cuda:1 or cpu,cpu.",
)
@click.option("--retry-failed", is_flag=True, help="Make failed runs again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def run(
    session: Session,
    *,
    study: Path,
    runs: int | None,
    executor: str,
    devices: str,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Make the runs of a study: train on subsets of contributors, sample, measure.

    Before the first run it says about what gain there will be to divide.
    Kill it at any time: the same command goes on where it was.  More --runs extend the same
    design.  Runs whose property is new are measured again without training.

    \b
    Example:
      wherefrom credit run study.toml --runs 40
    """
    from wherefrom.credit.method import open_study, run_study
    from wherefrom.credit.remarks import model_lines, shared_lines

    places = tuple(resolve_device(name.strip()) for name in devices.split(","))
    opened = open_study(study, device=places[0], track=session.track)
    for path, reason in opened.data.skipped:
        session.note(f"left out {path}: {reason}")
    for line in [*shared_lines(opened.data), *model_lines(opened)]:
        session.note(line)
    tell_gain(session, opened)
    counts = run_study(
        opened,
        runs=runs,
        executor=executor,
        devices=places,
        retry_failed=retry_failed,
        track=session.track,
    )
    with opened.ledger(readonly=True) as ledger:
        problems = ledger.problems()
        finished = {name: len(ledger.runs(name).values) for name in opened.specs}
    if as_json:
        told = [{"mask": p.run.mask, "what": p.what, "error": p.error} for p in problems]
        print_json({"runs": counts, "values": finished, "problems": told})
    else:
        for problem in problems[:10]:
            session.note(f"run {problem.run.mask:x}: {problem.what}: {problem.error}")
        rows = [(state, str(count), "") for state, count in counts.items() if count]
        rows += [(f"values of {printable(name)}", str(n), "") for name, n in finished.items()]
        print_facts(rows)
    if problems and not counts.get("done"):
        raise InputError(f"no run was finished; the first problem was: {problems[0].error}")
