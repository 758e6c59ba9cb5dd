"""`wherefrom case`: init, add, check, verify."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from wherefrom.cli.console.options import FILE, argument, json_option, option, use, with_options
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

case_argument = click.argument("case", type=FILE)


@click.group()
def case() -> None:
    """Make and check a case: a file that names the fitted values that `inspect` uses.

    \b
    Example:
      wherefrom case init case.toml --name "my studio"
    """


@case.command()
@case_argument
@click.option("--name", default="case", help="Shown in reports.")
@click.option(
    "--family-error",
    type=float,
    default=0.01,
    help="Largest chance that an image of none of the models is assigned to any of them.",
)
def init(*, case: Path, name: str, family_error: float) -> None:
    """Write an empty case file.

    \b
    Example:
      wherefrom case init case.toml --name "my studio"
    """
    from wherefrom.case.parts.file import Case, CaseConfig, refuse_name, write_case

    refuse_name(name)
    write_case(Case(case, CaseConfig(name=name, family_error=family_error)), new=True)
    click.echo(f"wrote {case}; add to it: wherefrom case add {case} PATH ...")


@dataclass(frozen=True, kw_only=True)
class AddOptions:
    """The options of `case add`."""

    case: Path = use(case_argument)
    paths: tuple[Path, ...] = argument()
    name: str | None = option("Name of the part; default: its file name.  With one path only.")
    model: str | None = option("For a credit receipt: the attributor whose model it is about.")
    encoder: str | None = option("For an index or calibration: where its encoder is now.")
    false_alarms: float | None = option("For a calibration or inverter: its rate; default: 0.01.")
    overwrite: bool = option("Replace the part of that name.")

    def settings(self) -> dict[str, Any]:
        """The settings of a part that were given."""
        names = ("model", "encoder", "false_alarms")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@case.command()
@with_options(AddOptions)
def add(session: Session, options: AddOptions) -> None:
    """Add attributors, indexes, calibrations, inverters and credit receipts to a case.

    The kind of each path is detected.  Its digest is recorded, and everything is opened once, so
    that what could not be used later is refused now.

    \b
    Example:
      wherefrom case add case.toml mine.attributor refs.index report/calibration
    """
    from wherefrom.case.parts.adding import add_parts
    from wherefrom.case.parts.file import read_case, write_case
    from wherefrom.report.case.wording import count_parts

    extended = add_parts(
        read_case(options.case),
        options.paths,
        name=options.name,
        settings=options.settings(),
        overwrite=options.overwrite,
        note=session.note,
    )
    write_case(extended)
    click.echo(f"{options.case} has {count_parts(extended)}")


@case.command()
@case_argument
@json_option
@click.pass_obj
def check(session: Session, *, case: Path, as_json: bool) -> None:
    """Open every part of a case, and say which are missing or changed.

    Exits with 2 if any is.

    \b
    Example:
      wherefrom case check case.toml
    """
    from wherefrom.case.parts.adding import check_case
    from wherefrom.case.parts.file import read_case
    from wherefrom.report.pages.tables import Column, Table, columns_of

    state = check_case(read_case(case), track=session.track)
    if as_json:
        print_json(state.to_dict())
    else:
        columns = columns_of("kind | name | path:text")
        rows = tuple((part.kind, part.name, part.path, part.state) for part in state.parts)
        print_table(Table((*columns, Column("state", folds=True)), rows))
    if state.reason:
        raise InputError(state.reason)


@case.command()
@click.argument("report", type=FILE)
@click.option(
    "--trust", type=FILE, help="Certificates to trust (PEM), such as an authority's root."
)
@json_option
def verify(*, report: Path, trust: Path | None, as_json: bool) -> None:
    """Say whether a signed report is unchanged, and who signed it.

    Checks the signature in signed.png, and that report.html and inspection.json are the files that
    were signed.  Nothing is fetched.  Without --trust the signer's name is only what the
    certificate says.

    Exits with 2 if the report is not signed or was changed, or if its certificate was not issued
    under one in --trust.

    \b
    Example:
      wherefrom case verify report/
    """
    from wherefrom.report.case.signed import verified_line, verify_report

    verified = verify_report(report, anchors=trust)
    if as_json:
        print_json(verified.to_dict())
    else:
        click.echo(verified_line(verified))
