"""`wherefrom attribution`: fit, check, evaluate, show."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.attribution.evaluate import evaluate
from wherefrom.cli.attribution.explain import explain
from wherefrom.cli.attribution.inputs import (
    Outputs,
    generator_if_named,
    learns_codec,
    lossy_option,
    most_others,
    optional_generator,
    output_options,
    read_shaped,
    read_table,
)
from wherefrom.cli.console.options import (
    FILE,
    MethodCommand,
    device_option,
    generator_options,
    resolve_device,
)
from wherefrom.cli.console.session import Session, print_facts, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.attribution import AttributionConfig, Attributor, CheckResult


@click.group()
def attribution() -> None:
    """Did my model make this image?

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png
    """


attribution.add_command(evaluate)
attribution.add_command(explain)


def _methods() -> Mapping[str, Mapping[str, AttributionConfig]]:
    from wherefrom.attribution import METHODS

    return {name: method.presets for name, method in METHODS.items()}


@attribution.command(cls=MethodCommand, methods=_methods)
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
    multiple=True,
    help="Images (or tables) the model did not make: best those it was trained on.  Repeatable.",
)
@click.option(
    "--self-made",
    is_flag=True,
    help="There are no others: stand-ins are made from the model's own content.",
)
@click.option("--resize", is_flag=True, help="Crop and scale the other images to the model's size.")
@lossy_option
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
    self_made: bool,
    resize: bool,
    lossy_others: bool,
    out: Path,
    overwrite: bool,
    seed: int,
    device: str,
    method: str,
    config: AttributionConfig,
) -> None:
    """Fit an attributor for your generator and save it.

    The attributor of the default method holds the model's last layer, not the model: it can be
    given away to let others check images.  Those of the inversion methods need the model to check.

    \b
    Example:
      wherefrom attribution fit --generator my.py:G --weights g.safetensors \\
        --others real_photos/ --out mine.attributor
    """
    from wherefrom import attribution as question
    from wherefrom.core.store import refuse_existing
    from wherefrom.generators.loading import load_generator

    if bool(others) == self_made:
        raise InputError("give --others, or --self-made where there are none, and not both")
    refuse_existing(out, overwrite=overwrite)
    place = resolve_device(device)
    generator = load_generator(spec, weights=weights, latent=latent, value_range=value_range)
    images, columns = None, None
    if others and generator.makes_numbers:
        images, columns = read_table(session, others, generator.image_shape, resize=resize)
    elif others:
        learns = learns_codec([config], allowed=lossy_others)
        images = read_shaped(
            session,
            others,
            generator.image_shape,
            resize=resize,
            learns=learns,
            most=most_others([config]),
        )
    fitted = question.fit(
        generator,
        images,
        method=method,
        config=config,
        columns=columns,
        seed=seed,
        track=session.track,
        device=place,
    )
    fitted.save(out, overwrite=overwrite)
    session.note(f"saved {out}")
    _print_attributor(fitted.describe(), fitted.config)


@attribution.command()
@click.argument("attributor", type=FILE)
@click.argument("paths", type=FILE, nargs=-1, required=True)
@click.option(
    "--false-discovery-rate",
    type=float,
    help="Judge all images together: at most this share of each answer is false.",
)
@optional_generator("The model, which an attributor of an inversion method needs.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the images of a large folder.",
)
@click.option(
    "--answers",
    type=FILE,
    help="A file, made if it is not there, that keeps every answer by the digests of image and "
    "attributor: what it holds is not judged again, and a run that was stopped goes on.",
)
@output_options
@click.pass_obj
def check(
    session: Session,
    *,
    attributor: Path,
    paths: tuple[Path, ...],
    false_discovery_rate: float | None,
    spec: str | None,
    weights: Path | None,
    latent: tuple[int, ...] | None,
    value_range: tuple[float, float] | None,
    processes: int,
    answers: Path | None,
    as_json: bool,
    report: Path | None,
    csv: Path | None,
) -> None:
    """Say for images and folders whether the model made them; for a model of rows, for tables.

    Exits with 2 if not a single image could be judged.

    \b
    Example:
      wherefrom attribution check mine.attributor suspect.png folder/ --report suspect.html
    """
    from wherefrom import attribution as question
    from wherefrom.report.pages.tables import CHECK_SHOWN, check_table, count_line, together_line

    outputs = Outputs(as_json, report, csv)
    outputs.prepare()
    generator = generator_if_named(spec, weights, latent, value_range)
    fitted = question.load(attributor, generator=generator)
    if report is not None and fitted.judges_numbers:
        raise InputError("--report shows pictures, and this attributor judges rows; take --csv")
    if answers is not None and fitted.judges_numbers:
        raise InputError("--answers keeps those about images, and this attributor judges rows")
    if processes > 1 and generator is not None:
        raise InputError("--processes is for attributors that need no --generator; leave it")
    with ExitStack() as stack:
        known = stack.enter_context(question.Answers(answers, fitted)) if answers else None
        if processes > 1:
            result = question.check_in_processes(
                attributor,
                paths,
                processes=processes,
                fitted=fitted,
                answers=known,
                track=session.track,
            )
        else:
            result = question.check_paths(fitted, paths, answers=known, track=session.track)
    if false_discovery_rate is not None:
        result = question.control_discoveries(result, false_discovery_rate)
    table = check_table(result)
    outputs.save_csv(table)
    if report is not None:
        _write_check_page(session, report, result, fitted)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(table.select(*CHECK_SHOWN))
        click.echo(count_line(result))
        if result.together is not None:
            click.echo(together_line(result.together))
    if all(image.score is None for image in result.images):
        sys.stdout.flush()
        first = result.images[0]
        raise InputError(f"nothing could be judged; the first: {first.name}: {first.reason}")


@attribution.command()
@click.argument("attributor", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def show(attributor: Path, as_json: bool) -> None:
    """Say what an attributor is, and which error rates it supports.

    \b
    Example:
      wherefrom attribution show mine.attributor
    """
    from wherefrom import attribution as question

    described, config = question.describe_saved(attributor)
    if as_json:
        print_json(described)
    else:
        _print_attributor(described, config)


def _write_check_page(
    session: Session, report: Path, result: CheckResult, fitted: Attributor
) -> None:
    from wherefrom.report.attribution.page import write_check_report
    from wherefrom.report.pages.thumbnails import thumbnails

    pictures = thumbnails(result.images, track=session.track)
    write_check_report(report, result, fitted, thumbnails=pictures)
    session.note(f"wrote {report}")


def _print_attributor(described: Mapping[str, Any], config: AttributionConfig) -> None:
    from wherefrom.report.pages.describe import flatten, settings_with_sources

    told = {key: value for key, value in described.items() if key != "config"}
    print_facts([(name, value, "") for name, value in flatten(told)])
    click.echo("\nsettings")
    print_facts(list(settings_with_sources(config)))
