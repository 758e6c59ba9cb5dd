"""`wherefrom case`: init, add, check, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console.options import FILE
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError, WherefromError

if TYPE_CHECKING:
    from wherefrom.case.file import Case, PartConfig

case_argument = click.argument("case", type=FILE)


@click.group()
def case() -> None:
    """Name the fitted things that one image is asked about, in one file.

    \b
    Example:
      wherefrom case init case.toml --name "my studio"
    """


@case.command()
@case_argument
@click.option("--name", default="case", show_default=True, help="Shown in reports.")
@click.option(
    "--family-error",
    type=float,
    default=0.01,
    show_default=True,
    help="Chance that an image of none of the models is assigned to any of them, at most.",
)
def init(*, case: Path, name: str, family_error: float) -> None:
    """Write an empty case file.

    \b
    Example:
      wherefrom case init case.toml --name "my studio"
    """
    from wherefrom.case.file import Case, CaseConfig, refuse_name, write_case

    refuse_name(name)
    write_case(Case(case, CaseConfig(name=name, family_error=family_error)), new=True)
    click.echo(f"wrote {case}; add to it: wherefrom case add {case} PATH ...")


@case.command()
@case_argument
@click.argument("paths", type=FILE, nargs=-1, required=True)
@click.option("--name", help="What it is called; default: its file name.  With one path only.")
@click.option("--model", help="Of a credit receipt: the attributor whose model it is about.")
@click.option("--encoder", help="Of an index or calibration: where its encoder is now.")
@click.option(
    "--false-alarms", type=float, help="Of a calibration or inverter: its rate; default: 0.01."
)
@click.option("--overwrite", is_flag=True, help="Record a part of that name again.")
@click.pass_obj
def add(
    session: Session,
    *,
    case: Path,
    paths: tuple[Path, ...],
    name: str | None,
    model: str | None,
    encoder: str | None,
    false_alarms: float | None,
    overwrite: bool,
) -> None:
    """Add attributors, indexes, calibrations, inverters and credit receipts to a case.

    What a path holds is found out by itself.  Its digest is recorded, and everything is opened
    once: what cannot be used later is refused now.

    \b
    Example:
      wherefrom case add case.toml mine.attributor refs.index report/calibration
    """
    from wherefrom.case.file import read_case, write_case
    from wherefrom.case.opened import load_part, require_models, require_rates

    if name is not None and len(paths) > 1:
        raise InputError(f"--name is one name, but {len(paths)} paths are given; add them singly")
    given = {"model": model, "encoder": encoder, "false_alarms": false_alarms}
    found = read_case(case)
    for path in paths:
        part = _part(path, case, name, {k: v for k, v in given.items() if v is not None})
        found = found.adding(part, overwrite=overwrite)
        _close(load_part(found, part))
        session.note(f"{path} is whole: {part.digest}")
    require_models(found)
    require_rates(found)
    write_case(found)
    click.echo(f"{case} has {_counted(found)}")


@case.command()
@case_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.pass_obj
def check(session: Session, *, case: Path, as_json: bool) -> None:
    """Open everything that a case names, and say what is missing or changed.

    Exits with 2 if anything is.

    \b
    Example:
      wherefrom case check case.toml
    """
    from wherefrom.case.file import kind_of, read_case
    from wherefrom.report.pages.tables import Column, Table

    found = read_case(case)
    parts = session.track(found.parts, "checking parts of the case", total=len(found.parts))
    rows = [(kind_of(part), part.name, part.path, _state(found, part)) for part in parts]
    whole = _whole_case(found)
    bad = [row for row in rows if row[3] != "ok"]
    if as_json:
        keys = ("kind", "name", "path", "state")
        listed = [dict(zip(keys, row, strict=True)) for row in rows]
        told = {"case": found.config.name, "digest": found.digest, "problem": whole}
        print_json({**told, "healthy": not bad and not whole, "parts": listed})
    else:
        columns = (Column("kind"), Column("name"), Column("path", folds=True))
        print_table(Table((*columns, Column("state", folds=True)), tuple(rows)))
    if bad or whole:
        raise InputError(bad[0][3] if bad else whole)


@case.command()
@click.argument("report", type=FILE)
@click.option("--trust", type=FILE, help="Certificates to trust (PEM), as of an authority's root.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def verify(*, report: Path, trust: Path | None, as_json: bool) -> None:
    """Say whether a signed report is as it was signed, and by whom.

    It checks the signature in signed.png, and that report.html and inspection.json are the files
    that it vouches for.  Nothing is fetched.  Without --trust the signer's name is only what the
    certificate says.

    Exits with 2 if the report is not signed or was changed, or if the certificate leads to none
    of those in --trust.

    \b
    Example:
      wherefrom case verify report/
    """
    from wherefrom.report.case.signed import verified_line, verify_report

    found = verify_report(report, anchors=trust)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(verified_line(found))


def _part(path: Path, case: Path, name: str | None, given: dict[str, Any]) -> PartConfig:
    from wherefrom.case.file import KINDS, refuse_name, relative
    from wherefrom.case.identity import digest_of, find_kind

    kind = find_kind(path)
    called = name if name is not None else path.resolve().stem
    refuse_name(called)
    if kind == "credit" and "model" not in given:
        raise InputError(f"{path} is a credit receipt; say with --model which attributor it is of")
    known = {info.name for info in KINDS[kind].describe()}
    for option in given:
        if option not in known:
            flag = option.replace("_", "-")
            raise InputError(f"{path} is of the kind {kind}, which takes no --{flag}; leave it out")
    if Path(given.get("encoder", "")).is_dir() and "encoder" in given:
        given = {**given, "encoder": relative(Path(given["encoder"]), case)}
    place = {"name": called, "path": relative(path, case), "digest": digest_of(kind, path)}
    return KINDS[kind].from_dict({**place, **given})


def _close(value: Any) -> None:
    closing = getattr(value, "close", None)
    if closing is not None:
        closing()


def _state(case: Case, part: PartConfig) -> str:
    from wherefrom.case.opened import load_part

    try:
        _close(load_part(case, part))
    except WherefromError as error:
        return str(error)
    return "ok"


def _whole_case(case: Case) -> str:
    from wherefrom.case.opened import require_models, require_rates

    try:
        require_models(case)
        require_rates(case)
    except WherefromError as error:
        return str(error)
    return ""


def _counted(case: Case) -> str:
    from wherefrom.case.file import KINDS
    from wherefrom.report.pages.text import plural

    counts = [(len(case.of(kind)), kind) for kind in KINDS]
    return ", ".join(plural(count, kind) for count, kind in counts if count) or "nothing yet"
