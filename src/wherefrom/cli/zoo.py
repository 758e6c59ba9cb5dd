"""`wherefrom zoo`: train, sample, list."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.generators.zoo.training import ZooTrainingConfig


@click.group()
def zoo() -> None:
    """Small GANs to try things on: train, sample, list.

    \b
    Example:
      wherefrom zoo list
    """


def _parse_span(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    start, colon, stop = value.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal()):
        raise click.BadParameter(f"{value!r}: expected START:STOP, such as 0:40000")
    return int(start), int(stop)


@dataclass(frozen=True, kw_only=True)
class ZooTrainOptions(cli.CourseOptions):
    """The options of `train`."""

    LAST: ClassVar[tuple[str, ...]] = ("sample_every", "checkpoint_every", "device")
    data: Path = cli.option("A folder of images, a .tar, .npz or idx file.", required=True)
    out: Path = cli.option("Folder of checkpoint, sample grids, weights.", required=True)
    span: tuple[int, int] | None = cli.option(
        "Use only these images of the source, counted from 0; the rest stays for tests.",
        metavar="START:STOP",
        kind=click.STRING,
        callback=_parse_span,
    )
    limit: int | None = cli.option("Use that many images, spread evenly.", low=1)
    device: str = cli.use(cli.device_option)
    config: ZooTrainingConfig


@dataclass(frozen=True, kw_only=True)
class ZooSampleOptions(cli.GeneratorOptions):
    """The options of `sample`."""

    spec: str | None = cli.argument()
    count: int = cli.option("How many images.", low=1, required=True)
    out: Path = cli.option("Folder for the PNG files.", required=True)
    seed: int = cli.option("Image i depends on the seed and i only.", 0)
    overwrite: bool = cli.option("Write into a folder that is not empty.")
    device: str = cli.option(
        "auto, cpu, cuda, cuda:1 or mps; another device may round a pixel otherwise.", "cpu"
    )


@zoo.command(
    cls=cli.ConfigCommand, presets=cli.default_of("generators.zoo.training:ZooTrainingConfig")
)
@cli.with_options(ZooTrainOptions)
def train(session: Session, options: ZooTrainOptions) -> None:
    """Train one of the paper's GANs.

    The same command given again continues where it stopped.

    \b
    Example:
      wherefrom zoo train --data photos/ --out runs/dcgan --width 16 --steps 2000
    """
    from wherefrom.data import load_training_images
    from wherefrom.generators.zoo.files import train_zoo

    config = options.config
    place = cli.resolve_device(options.device)
    source = load_training_images(
        options.data,
        size=config.size,
        channels=config.channels,
        limit=options.limit,
        span=options.span,
        track=session.track,
    )
    session.note(source.description)
    weights = train_zoo(
        source.images,
        options.out,
        config=config,
        origin={"images": source.digest, "command": shlex.join(["wherefrom", *sys.argv[1:]])},
        sample_every=options.sample_every,
        checkpoint_every=options.checkpoint_every,
        device=place,
        track=session.track,
    )
    click.echo(weights)


@zoo.command()
@cli.with_options(ZooSampleOptions)
def sample(session: Session, options: ZooSampleOptions) -> None:
    """Write images of a generator as PNG files.

    SPEC is file.py:factory (the file is RUN), model.pt, model.pt2, a diffusers VAE folder, zoo:NAME
    for a shipped model, or zoo: with --weights for one trained by `wherefrom zoo train`.

    \b
    Example:
      wherefrom zoo sample zoo: --weights runs/dcgan/generator.safetensors --count 8 --out own/
    """
    from wherefrom.data import save_png, to_uint8

    out, count = options.out, options.count
    _refuse_filled(out, overwrite=options.overwrite)
    place = cli.resolve_device(options.device)
    generator = options.load()
    if generator.makes_numbers:
        raise InputError(
            f"{options.spec} makes rows of numbers, and this command writes images; use Python"
        )
    out.mkdir(exist_ok=True)
    batches = generator.to(place).sample_with_activations(count, options.seed, batch=1)
    digits = len(str(count))
    for index, (image, _) in enumerate(session.track(batches, "sampling images", total=count)):
        save_png(to_uint8(image.cpu())[0], out / f"{index:0{digits}d}.png")
    click.echo(out)


@zoo.command(name="list")
@cli.json_option
def list_models(as_json: bool) -> None:
    """List the models inside the package; `zoo:NAME` loads one.

    \b
    Example:
      wherefrom zoo list
    """
    from wherefrom.cli.installed.shipped import ZOO_COLUMNS, describe_shipped
    from wherefrom.report.pages.tables import Table

    models = describe_shipped()
    if as_json:
        print_json({"models": [model.to_dict() for model in models]})
    elif models:
        print_table(Table(ZOO_COLUMNS, tuple(model.row() for model in models)))
    else:
        click.echo("this package ships no models; train one with: wherefrom zoo train")


def _refuse_filled(out: Path, *, overwrite: bool) -> None:
    from wherefrom.core.paths import entry_names

    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is not a folder; create it, or choose another --out")
    try:
        filled = out.exists() and bool(entry_names(out))
    except OSError as error:
        raise InputError(f"cannot use {out} as a folder: {error.strerror}") from error
    if filled and not overwrite:
        raise InputError(f"{out} is not empty; pass --overwrite, or choose another --out")
