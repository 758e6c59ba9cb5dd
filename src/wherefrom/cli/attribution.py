"""`wherefrom attribution`: fit, check, evaluate, show."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.console import Session, print_facts, print_json, print_table
from wherefrom.cli.options import (
    FILE,
    ConfigCommand,
    NamedFolder,
    device_option,
    generator_options,
    resolve_device,
)
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.attribution import CheckResult, FittedFlipad, FlipadConfig
    from wherefrom.report.tables import Table


@click.group()
def attribution() -> None:
    """Did my model make this image?

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png
    """


def _presets() -> Mapping[str, FlipadConfig]:
    from wherefrom.attribution import PRESETS

    return PRESETS


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


def _outputs(command: Any) -> Any:
    for option in (
        click.option("--csv", type=FILE, help="Also write the table there (.csv is replaced)."),
        click.option("--report", type=FILE, help="Also write a page there (.html is replaced)."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead."),
    ):
        command = option(command)
    return command


@attribution.command(cls=ConfigCommand, presets=_presets)
@click.option(
    "--generator",
    "spec",
    required=True,
    metavar="SPEC",
    help="file.py:factory (the file is RUN), model.pt, .pt2, a diffusers VAE folder, or zoo:NAME.",
)
@generator_options
@click.option(
    "--others",
    type=FILE,
    required=True,
    multiple=True,
    help="Images the model did not make: best those it was trained on.  Repeatable.",
)
@click.option("--resize", is_flag=True, help="Crop and scale the other images to the model's size.")
@click.option("--out", type=FILE, required=True, help="The attributor: a new folder.")
@click.option("--overwrite", is_flag=True, help="Replace an attributor that exists.")
@click.option("--seed", default=0, show_default=True, help="Seed of samples, splits and training.")
@device_option
@click.pass_obj
def fit(
    session: Session,
    *,
    spec: str,
    weights: Path | None,
    latent: tuple[int, ...] | None,
    value_range: tuple[float, float] | None,
    others: tuple[Path, ...],
    resize: bool,
    out: Path,
    overwrite: bool,
    seed: int,
    device: str,
    config: FlipadConfig,
) -> None:
    """Fit an attributor for your generator and save it.

    The attributor holds the model's last layer, not the model: it can be given away to let others
    check images.

    \b
    Example:
      wherefrom attribution fit --generator my.py:G --weights g.safetensors \\
        --others real_photos/ --out mine.attributor
    """
    from wherefrom import attribution as method
    from wherefrom.core.store import refuse_existing
    from wherefrom.generators.loading import load_generator

    refuse_existing(out, overwrite=overwrite)
    place = resolve_device(device)
    generator = load_generator(spec, weights=weights, latent=latent, value_range=value_range)
    images = _read(session, others, generator.image_shape, resize=resize)
    fitted = method.fit(
        generator, images, config=config, seed=seed, track=session.track, device=place
    )
    fitted.save(out, overwrite=overwrite)
    session.note(f"saved {out}")
    _print_attributor(fitted)


@attribution.command()
@click.argument("attributor", type=FILE)
@click.argument("paths", type=FILE, nargs=-1, required=True)
@click.option(
    "--false-discovery-rate",
    type=float,
    help="Judge all images together: at most this share of each answer is false.",
)
@_outputs
@click.pass_obj
def check(
    session: Session,
    *,
    attributor: Path,
    paths: tuple[Path, ...],
    false_discovery_rate: float | None,
    as_json: bool,
    report: Path | None,
    csv: Path | None,
) -> None:
    """Say for images and folders whether the model made them.

    Exits with 2 if not a single image could be judged.

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png folder/ --report suspect.html
    """
    from wherefrom import attribution as method
    from wherefrom.report.tables import CHECK_SHOWN, check_table, count_line

    outputs = Outputs(as_json, report, csv)
    outputs.prepare()
    fitted = method.load(attributor)
    result = method.check_paths(fitted, paths, track=session.track)
    if false_discovery_rate is not None:
        result = method.control_discoveries(result, false_discovery_rate)
    table = check_table(result)
    outputs.save_csv(table)
    if report is not None:
        _write_check_page(session, report, result, fitted)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(table.select(*CHECK_SHOWN))
        click.echo(count_line(result))
    if all(image.score is None for image in result.images):
        sys.stdout.flush()
        first = result.images[0]
        raise InputError(f"no image could be judged; the first: {first.name}: {first.reason}")


@attribution.command()
@click.argument("attributor", type=FILE)
@click.option("--own", type=FILE, required=True, help="Images that the model made, unaltered.")
@click.option(
    "--other",
    "others",
    type=NamedFolder(),
    required=True,
    multiple=True,
    help="Images of another source, and what to call it.  Repeatable.",
)
@click.option("--resize", is_flag=True, help="Crop and scale the other images to the model's size.")
@_outputs
@click.pass_obj
def evaluate(
    session: Session,
    *,
    attributor: Path,
    own: Path,
    others: tuple[tuple[str, Path], ...],
    resize: bool,
    as_json: bool,
    report: Path | None,
    csv: Path | None,
) -> None:
    """Measure an attributor on images of known origin that it has not seen.

    \b
    Example:
      wherefrom attribution evaluate mine.attributor --own own/ --other photos=photos/ --json
    """
    from wherefrom import attribution as method
    from wherefrom.report.tables import accuracy_line, evaluation_table

    outputs = Outputs(as_json, report, csv)
    outputs.prepare()
    fitted = method.load(attributor)
    shape = fitted.image_shape
    sources: dict[str, Tensor] = {}
    for name, folder in others:
        if name in sources:
            raise InputError(f"two sources are called {name!r}; give each --other its own name")
        sources[name] = _read(session, (folder,), shape, resize=resize)
    made = _read(session, (own,), shape, resize=False)
    result = method.evaluate(fitted, made, sources, track=session.track)
    table = evaluation_table(result)
    outputs.save_csv(table)
    if report is not None:
        from wherefrom.report.attribution import write_evaluation_report

        write_evaluation_report(report, result, fitted)
        session.note(f"wrote {report}")
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(table)
        click.echo(accuracy_line(result))


@attribution.command()
@click.argument("attributor", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def show(attributor: Path, as_json: bool) -> None:
    """Say what an attributor is, and which error rates it supports.

    \b
    Example:
      wherefrom attribution show mine.attributor
    """
    from wherefrom import attribution as method

    fitted = method.load(attributor)
    if as_json:
        print_json(fitted.describe())
    else:
        _print_attributor(fitted)


def _read(
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


def _write_check_page(
    session: Session, report: Path, result: CheckResult, fitted: FittedFlipad
) -> None:
    from wherefrom.report.attribution import write_check_report
    from wherefrom.report.thumbnails import thumbnails

    pictures = thumbnails(result.images, track=session.track)
    write_check_report(report, result, fitted, thumbnails=pictures)
    session.note(f"wrote {report}")


def _print_attributor(fitted: FittedFlipad) -> None:
    from wherefrom.report.describe import flatten, settings_with_sources

    told = {key: value for key, value in fitted.describe().items() if key != "config"}
    print_facts([(name, value, "") for name, value in flatten(told)])
    click.echo("\nsettings")
    print_facts(list(settings_with_sources(fitted.config)))
