"""`wherefrom demo`: all five questions, with models fitted to images in the package."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

import click

from wherefrom.cli.console.options import FILE
from wherefrom.cli.console.session import Session, print_table


@click.command()
@click.option("--out", type=FILE, default="wherefrom-demo", help="A new folder for everything.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in that folder.")
@click.option("--seed", default=0, help="Seed of every random draw.")
@click.pass_obj
def demo(session: Session, *, out: Path, overwrite: bool, seed: int) -> None:
    """Fit a small case to images in the package, and inspect images of known origin with it.

    Takes two to three minutes on two cores and needs no network.  The answers are printed beside
    the truth.  The folder then holds the images, the fitted parts, case.toml, and a report.

    \b
    Example:
      wherefrom demo --out demo/
    """
    from wherefrom.case.demo import inspect_demo, make_demo, start_folder
    from wherefrom.core.paths import printable
    from wherefrom.report.case.demo import demo_lines, demo_sections, demo_table
    from wherefrom.report.case.folder import write_folder

    start = time.monotonic()
    folder = Path(os.path.relpath(out)) if out.is_absolute() else out
    start_folder(folder, replace=overwrite)
    session.note("Fitting five small models to images that the package ships.")
    built = make_demo(folder, seed=seed, track=session.track, note=session.note)
    inspected, graded = inspect_demo(built, track=session.track)
    (folder / "report").mkdir()
    page = write_folder(folder / "report", inspected, "demo", first=demo_sections(graded))
    print_table(demo_table(graded))
    click.echo("")
    for line in demo_lines(graded, built.left_out):
        click.echo(line)
    click.echo("")
    case, images, report = (
        printable(shlex.quote(str(p))) for p in (built.case, built.suspects, page)
    )
    click.echo(f"It took {time.monotonic() - start:.0f} s.  Images: {images}")
    click.echo(f"Ask about an image of yours: wherefrom inspect IMAGE --with {case}")
    click.echo(f"Report: {report}")
