"""What the commands of `attribution` read and where they write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console import Session
from wherefrom.cli.options import FILE, generator_options
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.generators.generator import Generator
    from wherefrom.report.tables import Table


@dataclass(frozen=True)
class Outputs:
    """Where the answer goes besides the screen."""

    as_json: bool
    report: Path | None
    csv: Path | None

    def prepare(self) -> None:
        """Refuse impossible targets before the long work."""
        from wherefrom.report.files import check_target

        if self.report is not None:
            check_target(self.report, option="--report", suffixes=(".html", ".htm"))
        if self.csv is not None:
            check_target(self.csv, option="--csv", suffixes=(".csv",))

    def save_csv(self, table: Table) -> None:
        """The table with unrounded numbers, if it is wanted."""
        from wherefrom.report.files import write_text
        from wherefrom.report.tables import to_csv

        if self.csv is not None:
            write_text(self.csv, to_csv(table))


def output_options(command: Any) -> Any:
    for option in (
        click.option("--csv", type=FILE, help="Also write the table there (.csv is replaced)."),
        click.option("--report", type=FILE, help="Also write a page there (.html is replaced)."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead."),
    ):
        command = option(command)
    return command


def optional_generator(text: str) -> Any:
    """`--generator` and what goes with it, where a generator may be left out."""

    def add(command: Any) -> Any:
        option = click.option("--generator", "spec", metavar="SPEC", help=text)
        return option(generator_options(command))

    return add


def generator_if_named(
    spec: str | None,
    weights: Path | None,
    latent: tuple[int, ...] | None,
    value_range: tuple[float, float] | None,
) -> Generator | None:
    """The generator where one is named; an `InputError` for options that then say nothing."""
    if spec is None:
        for option, value in {
            "--weights": weights,
            "--latent": latent,
            "--value-range": value_range,
        }.items():
            if value is not None:
                raise InputError(f"{option} says something about a generator; give --generator")
        return None
    from wherefrom.generators.loading import load_generator

    return load_generator(spec, weights=weights, latent=latent, value_range=value_range)


def read_sources(
    session: Session,
    named: tuple[tuple[str, Path], ...],
    shape: tuple[int, int, int],
    *,
    resize: bool,
) -> dict[str, Tensor]:
    sources: dict[str, Tensor] = {}
    for name, folder in named:
        if name in sources:
            raise InputError(f"two sources are called {name!r}; give each --other its own name")
        sources[name] = read_shaped(session, (folder,), shape, resize=resize)
    return sources


def read_shaped(
    session: Session, paths: tuple[Path, ...], shape: tuple[int, int, int], *, resize: bool
) -> Tensor:
    from wherefrom.data import read_images
    from wherefrom.report.text import plural

    channels, height, width = shape
    batch = read_images(
        paths, channels=channels, size=(height, width), resize=resize, track=session.track
    )
    where = ", ".join(map(str, paths))
    if batch.skipped:
        path, reason = batch.skipped[0]
        session.note(
            f"note: {where}: {plural(len(batch.skipped), 'file')} left out; the first: "
            f"{path}: {reason}"
        )
    if batch.lossy:
        session.note(
            f"note: {where}: {plural(batch.lossy, 'image')} of {len(batch.paths)} come from a "
            "lossy format such as JPEG"
        )
    return batch.images
