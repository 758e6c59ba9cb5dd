"""Options that several commands of `attribution` share, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session

if TYPE_CHECKING:
    from wherefrom.attribution.training.others import SampleReader
    from wherefrom.report.pages.tables import Table


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the answer goes besides the screen."""

    LAST: ClassVar[tuple[str, ...]] = ("as_json", "report", "csv")
    as_json: bool = cli.use(cli.json_option)
    report: Path | None = None
    csv: Path | None = cli.use(cli.csv_option)

    def prepare(self) -> None:
        """Refuse impossible targets before the long work."""
        cli.check_output(self.report, "--report")
        cli.check_output(self.csv, "--csv", ".csv")

    def save_csv(self, table: Table) -> None:
        """The table with unrounded numbers, if it is wanted."""
        from wherefrom.report.pages.files import write_text
        from wherefrom.report.pages.tables import to_csv

        if self.csv is not None:
            write_text(self.csv, to_csv(table))


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Images of other sources, and how they are brought to the model's size."""

    sources: tuple[tuple[str, Path], ...] = cli.option(
        "Images of another source, and what to call it.  Repeatable.",
        flag="--other",
        kind=cli.NamedFolder(),
        required=True,
        multiple=True,
    )
    resize: bool = cli.option("Crop and scale the other images to the model's size.")


lossy_option = click.option(
    "--lossy-others",
    is_flag=True,
    help="Take others from JPEG files and the like, although own images never were one.",
)


def generator_option(text: str, *, required: bool = False) -> Any:
    """The field `spec` of `GeneratorOptions`: `--generator`."""
    return cli.option(text, flag="--generator", required=required, metavar="SPEC")


def reader_of(session: Session, shape: tuple[int, int, int], *, resize: bool) -> SampleReader:
    """What reads images of that shape, with notes on stderr."""
    from wherefrom.attribution.training.others import SampleReader

    return SampleReader(shape=shape, resize=resize, note=session.note, track=session.track)
