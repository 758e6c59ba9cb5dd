"""What the commands of `attribution` read and where they write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console.options import FILE, F, generator_options
from wherefrom.cli.console.session import Session
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.attribution import AttributionConfig
    from wherefrom.data.batches import ImageBatch
    from wherefrom.generators.generator import Generator
    from wherefrom.report.pages.tables import Table

MAX_OTHERS = 20_000  # files of others that are read, unless a fit can use more
CODEC_SHARE = 0.1  # of the others: so many lossy files say nothing about a class
SCALED_AWAY = 2  # times the model's size


@dataclass(frozen=True)
class Outputs:
    """Where the answer goes besides the screen."""

    as_json: bool
    report: Path | None
    csv: Path | None

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


def output_options(command: Any) -> Any:
    for option in (
        click.option("--csv", type=FILE, help="Also write the table there (.csv is replaced)."),
        click.option("--report", type=FILE, help="Also write a page there (.html is replaced)."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead."),
    ):
        command = option(command)
    return command


def optional_generator(text: str) -> Callable[[F], F]:
    """`--generator` and what goes with it, where a generator may be left out."""

    def add(command: F) -> F:
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


def read_table(
    session: Session, paths: tuple[Path, ...], shape: tuple[int, int, int], *, resize: bool
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Distinct rows as float32 (N, *shape), and the names of the columns where files give some."""
    from wherefrom.data.tables.numbers import read_rows
    from wherefrom.report.pages.text import plural

    if resize:
        raise InputError("--resize scales images, and this model makes rows of numbers")
    batch = read_rows(paths, shape, drop_duplicates=True)
    if batch.skipped:
        name, reason = batch.skipped[0]
        where = ", ".join(map(str, paths))
        session.note(
            f"note: {where}: {plural(len(batch.skipped), 'row')} or files left out; the first: "
            f"{name}: {reason}"
        )
    return batch.values, batch.columns


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
    session: Session,
    paths: tuple[Path, ...],
    shape: tuple[int, int, int],
    *,
    resize: bool,
    learns: bool = False,
    most: int | None = None,
) -> Tensor:
    """Images as uint8 (N, *shape), or the rows of tables as float32 (N, *shape).

    `learns`: a fit will learn from them, so that lossy files are refused.  `most`: of more image
    files so many are drawn before any is read, and a note says so.
    """
    from wherefrom.data import list_images
    from wherefrom.data.batches import Wanted
    from wherefrom.data.folders import read_files
    from wherefrom.generators.last_layer.introspection import holds_numbers
    from wherefrom.report.pages.text import plural

    if holds_numbers(shape):
        return read_table(session, paths, shape, resize=resize)[0]
    channels, height, width = shape
    where = ", ".join(map(str, paths))
    files = list_images(paths)
    if most is not None and most < len(files):
        from wherefrom.data.splits import sample_indices

        session.note(f"note: {where}: {most} of {len(files)} files were drawn, enough for a fit")
        files = [files[row] for row in sample_indices([str(path) for path in files], most, seed=0)]
    wanted = Wanted(channels, (height, width), resize)
    batch = read_files(files, where, wanted, track=session.track)
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
    if learns:
        _refuse_codec_leak(batch, where)
    return batch.images


def most_others(configs: Iterable[AttributionConfig]) -> int:
    """How many files of others are read at most for fits with one of these settings."""
    from wherefrom.attribution.method import wanted_others

    return max(MAX_OTHERS, *map(wanted_others, configs))


def learns_codec(configs: Iterable[AttributionConfig], *, allowed: bool) -> bool:
    """Whether a fit with one of these settings may learn the codec of the others' files."""
    from wherefrom.attribution.config import TrainedConfig

    return not allowed and any(
        isinstance(config, TrainedConfig) and config.immunise == 0 for config in configs
    )


def lossy_option(command: F) -> F:
    return click.option(
        "--lossy-others",
        is_flag=True,
        help="Take others from JPEG files and the like, although own images never were one.",
    )(command)


def _refuse_codec_leak(batch: ImageBatch, where: str) -> None:
    """An `InputError` if the others bear traces of a codec that own images do not.

    Scaling to half the size or less averages blocks of pixels, and most traces with them.
    """
    height, width = batch.images.shape[2:]
    traced = [
        not one.lossless
        and (one.size[0] < SCALED_AWAY * height or one.size[1] < SCALED_AWAY * width)
        for one in batch.carriers
    ]
    if sum(traced) > CODEC_SHARE * len(traced):
        raise InputError(
            f"{where}: {sum(traced)} of {len(traced)} others are from lossy files, and the model's "
            "own images never were in one: the fit would learn the codec, not the origin; give "
            "lossless or larger files, --immunise 0.8, or --lossy-others to do it all the same"
        )
