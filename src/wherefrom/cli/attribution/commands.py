"""`wherefrom attribution`: fit, check, show; the other commands are added to the group."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.attribution.evaluate import compare, evaluate
from wherefrom.cli.attribution.explain import explain
from wherefrom.cli.attribution.inputs import (
    OutputOptions,
    generator_option,
    lossy_option,
    reader_of,
)
from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_facts, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.attribution import Attributor, CheckResult
    from wherefrom.attribution.config import AttributionConfig
    from wherefrom.attribution.images.own_images import OwnInputs


@click.group()
def attribution() -> None:
    """Did my model make this image?

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png
    """


for command in (compare, evaluate, explain):
    attribution.add_command(command)


def _methods() -> Mapping[str, Mapping[str, AttributionConfig]]:
    from wherefrom.attribution import METHODS

    return {name: method.presets for name, method in METHODS.items()}


@dataclass(frozen=True, kw_only=True)
class FitAttributorOptions(cli.GeneratorOptions):
    """The options of `fit`."""

    spec: str | None = generator_option(
        "file.py:factory (the file is RUN), model.pt, .pt2, a diffusers VAE folder, or zoo:NAME.",
        required=True,
    )
    others: tuple[Path, ...] = cli.option(
        "Images (or tables) the model did not make: best those it was trained on.  Repeatable."
    )
    own: tuple[Path, ...] = cli.option(
        "Images (or tables) that the model made, without loss; the model is then not sampled.  "
        "Repeatable."
    )
    own_latents: Path | None = cli.option(
        "Instead: latents (N, ...) of own images, as the model takes them, in an .npy, .npz or "
        ".safetensors file."
    )
    own_activations: Path | None = cli.option(
        "Instead: activations (N, C, h, w) that enter the last layer; it makes the images of them."
    )
    self_made: bool = cli.option(
        "There are no others: stand-ins are made from the model's own content."
    )
    resize: bool = cli.option("Crop and scale the other images to the model's size.")
    lossy_others: bool = cli.use(lossy_option)
    out: Path = cli.option("The attributor: a new folder.", required=True)
    overwrite: bool = cli.option("Replace an attributor that exists.")
    seed: int = cli.option("Seed of samples, splits and training.", 0)
    device: str = cli.use(cli.device_option)
    method: str
    config: AttributionConfig


@attribution.command(cls=cli.MethodCommand, methods=_methods)
@cli.with_options(FitAttributorOptions)
def fit(session: Session, options: FitAttributorOptions) -> None:
    """Fit an attributor for your generator and save it.

    An attributor of patches holds statistics of patches and small networks, one of flipad the
    model's last layer, and neither the model: it can be given away to let others check images.
    Those of the inversion methods need the model to check.

    \b
    Example:
      wherefrom attribution fit --generator my.py:G --weights g.safetensors \\
        --others real_photos/ --out mine.attributor
    """
    from wherefrom import attribution as question
    from wherefrom.attribution.images.own_images import ACTIVATIONS, LATENTS
    from wherefrom.core.saving.store import refuse_existing

    if bool(options.others) == options.self_made:
        raise InputError("give --others, or --self-made where there are none, and not both")
    if sum(map(bool, (options.own, options.own_latents, options.own_activations))) > 1:
        raise InputError("give one of --own, --own-latents and --own-activations")
    refuse_existing(options.out, overwrite=options.overwrite)
    place = cli.resolve_device(options.device)
    generator = options.load()
    reader = reader_of(session, generator.image_shape, resize=options.resize)
    images, columns = None, None
    if options.others and generator.makes_numbers:
        images, columns = reader.read_table(options.others)
    elif options.others:
        images = reader.read_others(
            options.others, [options.config], lossy_allowed=options.lossy_others
        )
    own: Tensor | OwnInputs | None = None
    if options.own:
        own = reader.read_own(options.own, columns=columns)
    elif options.own_latents:
        own = reader.read_own_inputs(options.own_latents, LATENTS)
    elif options.own_activations:
        own = reader.read_own_inputs(options.own_activations, ACTIVATIONS)
    fitted = question.fit(
        generator,
        images,
        own=own,
        method=options.method,
        config=options.config,
        columns=columns,
        seed=options.seed,
        track=session.track,
        device=place,
    )
    fitted.save(options.out, overwrite=options.overwrite)
    session.note(f"saved {options.out}")
    _print_attributor(fitted.describe(), fitted.config)


@dataclass(frozen=True, kw_only=True)
class CheckImagesOptions(OutputOptions, cli.GeneratorOptions):
    """The options of `check`."""

    attributor: Path = cli.argument()
    paths: tuple[Path, ...] = cli.argument()
    spec: str | None = generator_option(
        "The model, which an attributor of an inversion method needs."
    )
    report: Path | None = cli.use(cli.report_option)
    false_discovery_rate: float | None = cli.option(
        "Judge all images together: at most this share of each answer is false.", before="spec"
    )
    same_source: bool = cli.option(
        "Also judge each folder given, and all single files, as the images of one source: one "
        "p-value each.",
        before="spec",
    )
    processes: int = cli.option("Processes that share the images of a large folder.", 1, low=1)
    answers: Path | None = cli.option(
        "A file, made if it is not there, that keeps every answer by the digests of image and "
        "attributor: what it holds is not judged again, and a run that was stopped goes on."
    )
    device: str = cli.use(cli.device_option)


@attribution.command()
@cli.with_options(CheckImagesOptions)
def check(session: Session, options: CheckImagesOptions) -> None:
    """Say for images and folders whether the model made them; for a model of rows, for tables.

    Exits with 2 if not a single image could be judged.

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png folder/ --report suspect.html
    """
    from wherefrom import attribution as question
    from wherefrom.report.attribution.tables import (
        CHECK_SHOWN,
        check_table,
        count_line,
        same_source_lines,
        together_line,
    )

    options.prepare()
    if options.processes > 1 and options.device not in ("auto", "cpu"):
        raise InputError("--processes share the CPU; give --device cpu, or one process")
    place = cli.resolve_device(options.device if options.processes == 1 else "cpu")
    generator = options.load_if_named()
    fitted = question.load(options.attributor, generator=generator, device=place)
    if options.report is not None and fitted.judges_numbers:
        raise InputError("--report shows pictures, and this attributor judges rows; take --csv")
    if options.processes > 1 and generator is not None:
        raise InputError("--processes is for attributors that need no --generator; leave it")
    result = question.check(
        options.attributor if options.processes > 1 else fitted,
        options.paths,
        processes=options.processes,
        answers=options.answers,
        false_discovery_rate=options.false_discovery_rate,
        same_source=options.same_source,
        track=session.track,
    )
    table = check_table(result)
    options.save_csv(table)
    if options.report is not None:
        _write_check_page(session, options.report, result, fitted)
    if options.as_json:
        print_json(result.to_dict())
    else:
        print_table(table.select(*CHECK_SHOWN))
        click.echo(count_line(result))
        if result.together is not None:
            click.echo(together_line(result.together))
        for line in same_source_lines(result):
            click.echo(line)
    if all(image.score is None for image in result.images):
        sys.stdout.flush()
        first = result.images[0]
        raise InputError(f"nothing could be judged; the first: {first.name}: {first.reason}")


@attribution.command()
@click.argument("attributor", type=cli.FILE)
@cli.json_option
def show(attributor: Path, as_json: bool) -> None:
    """Say what an attributor is, and which error rates it supports.

    \b
    Example:
      wherefrom attribution show mine.attributor
    """
    from wherefrom.attribution.checking.fitted import describe_saved

    described, config = describe_saved(attributor)
    if as_json:
        print_json(described)
    else:
        _print_attributor(described, config)


def _write_check_page(
    session: Session, report: Path, result: CheckResult, fitted: Attributor
) -> None:
    from wherefrom.report.attribution.page import write_check_report
    from wherefrom.report.pages.pictures import thumbnails

    pictures = thumbnails(result.images, track=session.track)
    write_check_report(report, result, fitted, thumbnails=pictures)
    session.note(f"wrote {report}")


def _print_attributor(described: Mapping[str, Any], config: AttributionConfig) -> None:
    from wherefrom.report.pages.html import flatten, settings_with_sources

    facts = {key: value for key, value in described.items() if key != "config"}
    print_facts([(name, value, "") for name, value in flatten(facts)])
    click.echo("\nsettings")
    print_facts(list(settings_with_sources(config)))
