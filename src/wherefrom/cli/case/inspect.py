"""`wherefrom inspect`: all five questions about one image or a folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.case.parts.opened import OpenCase
    from wherefrom.case.signing import ReportSigner


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """The options of `inspect`."""

    paths: tuple[Path, ...] = cli.argument()
    case: Path = cli.option("A case file; see `case init`.", flag="--with", required=True)
    out: Path | None = cli.option("A folder for the report: a page, and the same as JSON.")
    heat_map: bool = cli.option("Show which parts look unnatural; takes longest.")
    sign_key: Path | None = cli.option("A private key (PEM) to sign one image's report with.")
    sign_certificate: Path | None = cli.option("The key's certificate, then the issuers' (PEM).")
    device: str = cli.use(cli.device_option)
    as_json: bool = cli.use(cli.json_option)

    def check(self, *, single: bool) -> None:
        """An `InputError` for options that do not go together; `single`: one file is inspected."""
        one_report = single and self.out is not None
        if self.heat_map and not one_report:
            raise InputError("--heat-map draws one image's report; give one file, and --out")
        if (self.sign_key is None) != (self.sign_certificate is None):
            raise InputError("--sign-key and --sign-certificate belong together; give both")
        if self.sign_key is not None and not one_report:
            raise InputError("--sign-key signs one image's report; give one file, and --out")


@click.command()
@cli.with_options(InspectOptions)
def inspect(session: Session, options: InspectOptions) -> None:
    """Ask all five questions about an image or a folder, with the parts of a case.

    For one file it prints a sentence per question; for folders a table, the most certain findings
    first.  The answers about a folder are stored beside the case file, and a later run continues.

    With --sign-key and --sign-certificate the report gets signed.png, a picture whose Content
    Credentials (C2PA) hold the answers and the digests of the other files; see `case verify`.

    Exits with 2 if not a single image could be read.

    \b
    Example:
      wherefrom inspect suspect.png --with case.toml --out report/
    """
    from wherefrom.case.parts.opened import open_case
    from wherefrom.case.signing import open_signer
    from wherefrom.data.files.listing import holds_many

    single = len(options.paths) == 1 and not holds_many(options.paths[0])
    options.check(single=single)
    signer = None
    if options.sign_key is not None and options.sign_certificate is not None:
        signer = open_signer(options.sign_key, options.sign_certificate)  # before the long work
    if options.out is not None:
        _prepare(options.out)
    device = cli.resolve_device(options.device)
    with open_case(options.case, device=device, track=session.track) as opened:
        if single:
            _inspect_image(session, options, opened, signer)
        else:
            _inspect_folder(session, options, opened)


def _inspect_image(
    session: Session, options: InspectOptions, opened: OpenCase, signer: ReportSigner | None
) -> None:
    from wherefrom.case.method import inspect_image
    from wherefrom.core.paths import printable
    from wherefrom.report.case.page import summary_lines, write_inspection

    (path,) = options.paths
    inspection = inspect_image(
        path, opened, pictures=options.out is not None, heat=options.heat_map, track=session.track
    )
    if options.out is not None:
        page = write_inspection(options.out, inspection, path, signer=signer)
        session.note(f"wrote {page}{'' if signer is None else ', signed'}")
    if options.as_json:
        print_json(inspection.to_dict())
        return
    for line in summary_lines(inspection.to_dict()):
        click.echo(printable(line))


def _inspect_folder(session: Session, options: InspectOptions, opened: OpenCase) -> None:
    from wherefrom.case.folder import inspect_folder
    from wherefrom.report.case.folder import folder_line, folder_table, write_folder

    inspected = inspect_folder(options.paths, opened, track=session.track)
    if inspected.reused:
        count = len(inspected.rows)
        session.note(f"note: {inspected.reused} of {count} were known from an earlier run")
    if options.out is not None:
        page = write_folder(options.out, inspected, opened.case.config.name, track=session.track)
        session.note(f"wrote {page}")
    if options.as_json:
        print_json(inspected.to_dict())
    else:
        print_table(folder_table(inspected))
        click.echo(folder_line(inspected))
    if all(row.inspection is None for row in inspected.rows):
        sys.stdout.flush()
        raise InputError(f"no image could be read; the first: {inspected.rows[0].reason}")


def _prepare(out: Path) -> None:
    """The report's folder: new, or one that holds nothing but an earlier report."""
    from wherefrom.core.paths import entry_names
    from wherefrom.report.case.page import is_of_report

    if out.is_dir():
        others = sorted(name for name in entry_names(out) if not is_of_report(name))
        if others:
            raise InputError(
                f"{out} holds files that are no report ({others[0]}); choose another --out"
            )
        return
    try:
        out.mkdir()
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}") from error
