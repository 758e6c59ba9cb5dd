"""`wherefrom inspect`: all five questions of one image, or of a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, device_option, resolve_device
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.case.opened import OpenCase
    from wherefrom.case.signing import ReportSigner

KEPT = ".inspections"  # beside the case file, after its name


@click.command()
@click.argument("paths", type=FILE, nargs=-1, required=True)
@click.option("--with", "case", type=FILE, required=True, help="A case file; see `case init`.")
@click.option("--out", type=FILE, help="A folder for the report: a page, and the same as JSON.")
@click.option("--heat-map", is_flag=True, help="Show which parts look unnatural; takes longest.")
@click.option("--sign-key", type=FILE, help="A private key (PEM); signs one image's report.")
@click.option("--sign-certificate", type=FILE, help="Its certificate, then the issuers' (PEM).")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.pass_obj
def inspect(
    session: Session,
    *,
    paths: tuple[Path, ...],
    case: Path,
    out: Path | None,
    heat_map: bool,
    sign_key: Path | None,
    sign_certificate: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Ask all five questions of an image or a folder, with what a case names.

    Of one file it prints a sentence per question; of folders a table, the worst and most certain
    first.  What was asked of a folder is kept beside the case file, and a later run goes on.

    With --sign-key and --sign-certificate the report gets signed.png, a picture whose Content
    Credentials (C2PA) hold the answers and the digests of the other files; see `case verify`.

    Exits with 2 if not a single image could be read.

    \b
    Example:
      wherefrom inspect suspect.png --with case.toml --out report/
    """
    from wherefrom.case.opened import open_case
    from wherefrom.data.files.archive_listing import holds_many

    single = len(paths) == 1 and not holds_many(paths[0])
    if heat_map and (out is None or not single):
        raise InputError("--heat-map draws one image's report; give one file, and --out")
    signer = _signer(sign_key, sign_certificate, reported=out is not None and single)
    if out is not None:
        _prepare(out)
    with open_case(case, device=resolve_device(device), track=session.track) as opened:
        if single:
            _one(session, paths[0], opened, out, signer, heat_map, as_json)
        else:
            _many(session, paths, opened, case, out, as_json)


def _one(
    session: Session,
    path: Path,
    opened: OpenCase,
    out: Path | None,
    signer: ReportSigner | None,
    heat: bool,
    as_json: bool,
) -> None:
    from wherefrom.case.method import inspect_image
    from wherefrom.report.case.page import summary_lines, write_inspection
    from wherefrom.report.pages.text import printable

    found = inspect_image(path, opened, pictures=out is not None, heat=heat, track=session.track)
    if out is not None:
        page = write_inspection(out, found, path, signer=signer)
        session.note(f"wrote {page}{'' if signer is None else ', signed'}")
    if as_json:
        print_json(found.to_dict())
        return
    for line in summary_lines(found.to_dict()):
        click.echo(printable(line))


def _many(
    session: Session,
    paths: tuple[Path, ...],
    opened: OpenCase,
    case: Path,
    out: Path | None,
    as_json: bool,
) -> None:
    from wherefrom.case.folder import inspect_folder
    from wherefrom.report.case.folder import folder_line, folder_table, write_folder

    keep = case.with_name(case.name + KEPT)
    found = inspect_folder(paths, opened, keep=keep, track=session.track)
    if found.kept:
        session.note(f"note: {found.kept} of {len(found.rows)} were known from an earlier run")
    if out is not None:
        page = write_folder(out, found, opened.case.config.name, track=session.track)
        session.note(f"wrote {page}")
    if as_json:
        print_json(found.to_dict())
    else:
        print_table(folder_table(found))
        click.echo(folder_line(found))
    if all(row.inspection is None for row in found.rows):
        sys.stdout.flush()
        raise InputError(f"no image could be read; the first: {found.rows[0].reason}")


def _signer(key: Path | None, certificate: Path | None, *, reported: bool) -> ReportSigner | None:
    """What signs the report, None if nothing was asked; refused before the long work."""
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        raise InputError("--sign-key and --sign-certificate belong together; give both")
    if not reported:
        raise InputError("--sign-key signs one image's report; give one file, and --out")
    from wherefrom.case.signing import open_signer

    return open_signer(key, certificate)


def _prepare(out: Path) -> None:
    """The report's folder: new, or one that holds nothing but an earlier report."""
    from wherefrom.core.paths import entry_names
    from wherefrom.report.case.page import FILES

    if out.is_dir():
        others = sorted(name for name in entry_names(out) if name not in FILES)
        if others:
            raise InputError(
                f"{out} holds other files ({others[0]}), so it is left alone; choose another --out"
            )
        return
    try:
        out.mkdir()
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}") from error
