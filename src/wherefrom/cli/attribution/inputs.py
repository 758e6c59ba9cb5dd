"""Options that several commands of `attribution` share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, F, NamedFolder, generator_options
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.attribution.training.reading import SampleReader
    from wherefrom.generators.generator import Generator
    from wherefrom.report.pages.tables import Table


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the answer goes besides the screen."""

    as_json: bool
    csv: Path | None
    report: Path | None = None

    def prepare(self) -> None:
        """Refuse impossible targets before the long work."""
        from wherefrom.report.pages.files import check_target

        if self.report is not None:
            check_target(self.report, option="--report", suffixes=(".html", ".htm"))
        if self.csv is not None:
            check_target(self.csv, option="--csv", suffixes=(".csv",))

    def save_csv(self, table: Table) -> None:
        """The table with unrounded numbers, if it is wanted."""
        from wherefrom.report.pages.files import write_text
        from wherefrom.report.pages.tables import to_csv

        if self.csv is not None:
            write_text(self.csv, to_csv(table))


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """The generator that a command is told of, and how it is loaded."""

    spec: str | None
    weights: Path | None
    latent: tuple[int, ...] | None
    value_range: tuple[float, float] | None

    def load(self) -> Generator:
        """The generator; an `InputError` if none is named."""
        from wherefrom.generators.loading import load_generator

        if self.spec is None:
            raise InputError("no generator is named; give --generator")
        return load_generator(
            self.spec, weights=self.weights, latent=self.latent, value_range=self.value_range
        )

    def load_if_named(self) -> Generator | None:
        """The generator where one is named; an `InputError` for options that then say nothing."""
        if self.spec is not None:
            return self.load()
        for option, value in {
            "--weights": self.weights,
            "--latent": self.latent,
            "--value-range": self.value_range,
        }.items():
            if value is not None:
                raise InputError(f"{option} says something about a generator; give --generator")
        return None


def add_options(command: F, options: Iterable[Callable[[F], F]]) -> F:
    """The command with these options; the last stands first in its help."""
    for option in options:
        command = option(command)
    return command


def result_options(command: F) -> F:
    """`--json` and `--csv`."""
    return add_options(
        command,
        (
            click.option("--csv", type=FILE, help="Also write the table there (.csv is replaced)."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead."),
        ),
    )


def output_options(command: F) -> F:
    """`--json`, `--report` and `--csv`, in this order."""
    return add_options(
        command,
        (
            click.option("--csv", type=FILE, help="Also write the table there (.csv is replaced)."),
            click.option(
                "--report", type=FILE, help="Also write a page there (.html is replaced)."
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead."),
        ),
    )


def generator_option(text: str, *, required: bool = False) -> Callable[[F], F]:
    """`--generator` and the options of its loading."""

    def add(command: F) -> F:
        option = click.option("--generator", "spec", required=required, metavar="SPEC", help=text)
        return option(generator_options(command))

    return add


def source_options(command: F) -> F:
    """`--other NAME=FOLDER` and `--resize`."""
    return add_options(
        command,
        (
            click.option(
                "--resize",
                is_flag=True,
                help="Crop and scale the other images to the model's size.",
            ),
            click.option(
                "--other",
                "sources",
                type=NamedFolder(),
                required=True,
                multiple=True,
                help="Images of another source, and what to call it.  Repeatable.",
            ),
        ),
    )


def lossy_option(command: F) -> F:
    """`--lossy-others`."""
    return click.option(
        "--lossy-others",
        is_flag=True,
        help="Take others from JPEG files and the like, although own images never were one.",
    )(command)


def reader_of(session: Session, shape: tuple[int, int, int], *, resize: bool) -> SampleReader:
    """What reads images of that shape, with notes on stderr."""
    from wherefrom.attribution.training.reading import SampleReader

    return SampleReader(shape=shape, resize=resize, note=session.note, track=session.track)
