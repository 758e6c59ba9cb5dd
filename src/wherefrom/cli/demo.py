"""`wherefrom demo`: all five questions on what the package ships."""

from __future__ import annotations

import time
from pathlib import Path

import click

from wherefrom.cli.console import Session, print_table
from wherefrom.cli.options import FILE
from wherefrom.core.errors import InputError


@click.command()
@click.option("--out", type=FILE, required=True, help="A new folder for everything.")
@click.option("--seed", default=0, show_default=True, help="Of every draw.")
@click.pass_obj
def demo(session: Session, *, out: Path, seed: int) -> None:
    """Fit a small case from what the package ships, and ask it about images of known making.

    It takes some minutes on two cores and needs no network.  The folder then holds the fitted
    parts, case.toml, the suspects, a report about one of them and one about all.

    \b
    Example:
      wherefrom demo --out demo/
    """
    from wherefrom.case.demo import make_demo
    from wherefrom.case.folder import inspect_folder
    from wherefrom.case.method import inspect_image
    from wherefrom.case.opened import open_case
    from wherefrom.report.case import summary_lines, write_inspection
    from wherefrom.report.case_folder import folder_line, folder_table, write_folder
    from wherefrom.report.text import printable

    start = time.monotonic()
    try:
        out.mkdir()
        (out / "report").mkdir()
        (out / "report-of-all").mkdir()
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}") from error
    made = make_demo(out, seed=seed, track=session.track)
    for line in made.left_out:
        session.note(f"note: left out, {line}")
    with open_case(made.case) as opened:
        found = inspect_image(made.main, opened, pictures=True, track=session.track)
        page = write_inspection(out / "report", found, made.main)
        keep = made.case.with_name(made.case.name + ".inspections")
        every = inspect_folder([made.suspects], opened, keep=keep, track=session.track)
        pages = write_folder(out / "report-of-all", every, "demo")
    print_table(folder_table(every))
    click.echo(folder_line(every))
    click.echo("")
    for line in summary_lines(found.to_dict()):
        click.echo(printable(line))
    click.echo("")
    click.echo(f"Done in {time.monotonic() - start:.0f} s.  Open {page} and {pages}")
    click.echo(f"Next: wherefrom serve --with {made.case}")
