"""Options that several commands of `attribution` share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import F, NamedFolder, check_output, generator_options, joined
from wherefrom.cli.console.session import Session

if TYPE_CHECKING:
    from wherefrom.attribution.training.others import SampleReader
    from wherefrom.report.pages.tables import Table


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the answer goes besides the screen."""

    as_json: bool
    csv: Path | None
    report: Path | None = None

    def prepare(self) -> None:
        """Refuse impossible targets before the long work."""
        check_output(self.report, "--report")
        check_output(self.csv, "--csv", ".csv")

    def save_csv(self, table: Table) -> None:
        """The table with unrounded numbers, if it is wanted."""
        from wherefrom.report.pages.files import write_text
        from wherefrom.report.pages.tables import to_csv

        if self.csv is not None:
            write_text(self.csv, to_csv(table))


source_options = joined(
    click.option(
        "--other",
        "sources",
        type=NamedFolder(),
        required=True,
        multiple=True,
        help="Images of another source, and what to call it.  Repeatable.",
    ),
    click.option(
        "--resize", is_flag=True, help="Crop and scale the other images to the model's size."
    ),
)
lossy_option = click.option(
    "--lossy-others",
    is_flag=True,
    help="Take others from JPEG files and the like, although own images never were one.",
)


def generator_option(text: str, *, required: bool = False) -> Callable[[F], F]:
    """`--generator` and the options of its loading."""
    option = click.option("--generator", "spec", required=required, metavar="SPEC", help=text)
    return joined(option, generator_options)


def reader_of(session: Session, shape: tuple[int, int, int], *, resize: bool) -> SampleReader:
    """What reads images of that shape, with notes on stderr."""
    from wherefrom.attribution.training.others import SampleReader

    return SampleReader(shape=shape, resize=resize, note=session.note, track=session.track)
