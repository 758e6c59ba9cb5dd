"""`wherefrom credit`: the group of commands, and its `run` and `merge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_facts, print_json
from wherefrom.cli.credit.checks import audit, evaluate
from wherefrom.cli.credit.payout import divide, settle, verify
from wherefrom.cli.credit.results import (
    device_option,
    opened_study,
    plan,
    report,
    study_argument,
    tell_gain,
)
from wherefrom.core.errors import InputError
from wherefrom.core.paths import printable

MAX_PROBLEMS = 10  # that are printed


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `credit run`."""

    study: Path = cli.argument()
    runs: int | None = cli.option("The number of runs; default: that of the study file.", low=1)
    executor: str = cli.option("local: processes of this machine; ray: a Ray cluster.", "local")
    devices: str = cli.option(
        "Devices of the workers, separated by commas, as in cuda:0,cuda:1 or cpu,cpu.", "auto"
    )
    retry_failed: bool = cli.option("Make failed runs again.")
    as_json: bool = cli.option("Print one JSON object.", flag="--json")


@click.group()
def credit() -> None:
    """Who contributed how much to what my model does, and how is the money split?

    \b
    Example:
      wherefrom credit run study.toml
    """


@click.command()
@study_argument
@click.argument("others", type=cli.FILE, nargs=-1, required=True)
@device_option
@cli.json_option
@click.pass_obj
def merge(
    session: Session, *, study: Path, others: tuple[Path, ...], device: str, as_json: bool
) -> None:
    """Take over the runs of other sites: OTHERS are ledgers of the same study.

    The order of merging changes nothing, and merging twice adds nothing.  The other ledgers are not
    changed; no run should be in progress in them.

    \b
    Example:
      wherefrom credit merge study.toml site2/study.ledger.sqlite
    """
    from wherefrom.credit.ledger.merging import merge_ledger

    opened = opened_study(session, study, device, fresh=True)
    merges: list[dict[str, Any]] = []
    with opened.ledger() as ledger:
        for other in others:
            merged = merge_ledger(ledger, other)
            merges.append({"ledger": str(other), **vars(merged)})
            for remark in merged.remarks():
                session.note(f"{other}: {remark}")
        counts = ledger.counts()
    if as_json:
        print_json({"merged": merges, "runs": counts})
        return
    print_facts([(state, str(count), "") for state, count in counts.items() if count])


for command in (plan, report, merge, divide, settle, verify, audit, evaluate):
    credit.add_command(command)


@credit.command()
@cli.with_options(RunOptions)
def run(session: Session, options: RunOptions) -> None:
    """Make the runs of a study: train on subsets of contributors, sample, measure.

    Before the first run it says about what gain there will be to divide.  After an interruption the
    same command continues.  More --runs extend the same design.  Finished runs are measured again,
    without training, if a property is new.

    \b
    Example:
      wherefrom credit run study.toml --runs 40
    """
    from wherefrom.credit.evaluation.remarks import model_lines, shared_lines
    from wherefrom.credit.method import open_study, run_study

    devices = [cli.resolve_device(name.strip()) for name in options.devices.split(",")]
    opened = open_study(options.study, device=devices[0], track=session.track)
    for path, reason in opened.data.skipped:
        session.note(f"left out {path}: {reason}")
    for line in [*shared_lines(opened.data), *model_lines(opened)]:
        session.note(line)
    tell_gain(session, opened)
    counts = run_study(
        opened,
        options.runs,
        executor=options.executor,
        devices=devices,
        retry_failed=options.retry_failed,
        track=session.track,
    )
    with opened.ledger(readonly=True) as ledger:
        problems = ledger.problems()
        finished = {name: len(ledger.runs(name).values) for name in opened.specs}
    if options.as_json:
        failures = [{"mask": p.run.mask, "what": p.what, "error": p.error} for p in problems]
        print_json({"runs": counts, "values": finished, "problems": failures})
    else:
        for problem in problems[:MAX_PROBLEMS]:
            session.note(f"run {problem.run.mask:x}: {problem.what}: {problem.error}")
        rows = [(state, str(count), "") for state, count in counts.items() if count]
        rows += [(f"values of {printable(name)}", str(n), "") for name, n in finished.items()]
        print_facts(rows)
    if problems and not counts.get("done"):
        raise InputError(f"no run was finished; the first problem was: {problems[0].error}")
