"""`wherefrom attribution evaluate` and `compare`: one attributor, or methods side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.attribution.inputs import (
    OutputOptions,
    SourceOptions,
    generator_option,
    lossy_option,
    reader_of,
)
from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.attribution.evaluation.comparison import ComparisonResult


@dataclass(frozen=True, kw_only=True)
class EvaluateAttributorOptions(OutputOptions, cli.GeneratorOptions, SourceOptions):
    """The options of `evaluate`."""

    attributor: Path = cli.argument()
    own: Path = cli.option(
        "Images that the model made, unaltered.", before="sources", required=True
    )
    spec: str | None = generator_option(
        "The model, which an attributor of an inversion method needs."
    )
    report: Path | None = cli.use(cli.report_option)
    device: str = cli.use(cli.device_option)


@click.command()
@cli.with_options(EvaluateAttributorOptions)
def evaluate(session: Session, options: EvaluateAttributorOptions) -> None:
    """Measure an attributor on images of known origin that it has not seen.

    \b
    Example:
      wherefrom attribution evaluate mine.attributor --own own/ --other photos=photos/ --json
    """
    from wherefrom import attribution as question
    from wherefrom.report.attribution.page import write_evaluation_report
    from wherefrom.report.attribution.tables import accuracy_line, evaluation_table
    from wherefrom.report.attribution.wording import evaluation_notes

    options.prepare()
    place = cli.resolve_device(options.device)
    fitted = question.load(options.attributor, generator=options.load_if_named(), device=place)
    reader = reader_of(session, fitted.image_shape, resize=options.resize)
    sources = reader.read_sources(options.sources)
    own = reader_of(session, fitted.image_shape, resize=False).read((options.own,))
    result = question.evaluate(fitted, own, sources, track=session.track)
    for note in evaluation_notes(result):
        session.note(f"note: {note}")
    table = evaluation_table(result)
    options.save_csv(table)
    if options.report is not None:
        write_evaluation_report(options.report, result, fitted)
        session.note(f"wrote {options.report}")
    if options.as_json:
        print_json(result.to_dict())
    else:
        print_table(table)
        click.echo(accuracy_line(result))


@dataclass(frozen=True, kw_only=True)
class CompareMethodsOptions(OutputOptions, SourceOptions, cli.GeneratorOptions):
    """The options of `compare`."""

    spec: str | None = generator_option("The model that the methods are fitted for.", required=True)
    methods: tuple[str, ...] = cli.option(
        "A method to fit, or 'all': every method that the model has the parts for.  Repeatable.",
        flag="--method",
        required=True,
        before="spec",
    )
    preset: str = cli.option("The set of settings of each method.", "default", before="spec")
    settings: tuple[str, ...] = cli.option(
        "A setting, as in detector.epochs=10, for every method that has it.  Repeatable.",
        flag="--setting",
        metavar="NAME=VALUE",
        before="spec",
    )
    others: tuple[Path, ...] = cli.option(
        "Images the model did not make, for the fits.  Repeatable.", required=True, before="sources"
    )
    lossy_others: bool = cli.use(lossy_option, before="sources")
    alter: tuple[str, ...] = cli.option(
        "Also judge all images after this, with a threshold from own images after it: jpeg=80, "
        "webp=80, noise=0.1, blur=1, crop=0.9; or all: the paper's.  Repeatable.",
        metavar="KIND=STRENGTH",
    )
    own_samples: int = cli.option("Own images to judge, drawn from the generator.", 1000, low=1)
    repetitions: int = cli.option("Fits per method, each on new images.", 5, low=1)
    seed: int = cli.option("Seed of samples, splits and training.", 0)
    device: str = cli.use(cli.device_option)


@click.command()
@cli.with_options(CompareMethodsOptions)
def compare(session: Session, options: CompareMethodsOptions) -> None:
    """Fit several methods on the same images, several times, and show them side by side.

    \b
    Example:
      wherefrom attribution compare --method all --generator my.py:G --weights g.safetensors \\
        --others real_photos/ --other rival=rival/ --repetitions 5 --alter jpeg=80
    """
    from wherefrom import attribution as question
    from wherefrom.attribution.evaluation.choosing import (
        alterations_of,
        choose_methods,
        settings_of,
    )
    from wherefrom.attribution.evaluation.comparison import ComparisonDesign
    from wherefrom.report.attribution.tables import comparison_cells

    options.prepare()
    design = ComparisonDesign(
        own_samples=options.own_samples,
        repetitions=options.repetitions,
        alterations=alterations_of(options.alter),
    )
    generator = options.load()
    names = choose_methods(options.methods, generator, preset=options.preset, note=session.note)
    configs = settings_of(names, preset=options.preset, texts=options.settings, convert=_convert)
    reader = reader_of(session, generator.image_shape, resize=options.resize)
    others = reader.read_others(
        options.others, list(configs.values()), lossy_allowed=options.lossy_others
    )
    result = question.compare(
        generator,
        others,
        reader.read_sources(options.sources),
        configs=configs,
        design=design,
        seed=options.seed,
        track=session.track,
        device=cli.resolve_device(options.device),
    )
    options.save_csv(comparison_cells(result))
    if options.as_json:
        print_json(result.to_dict())
    else:
        print_comparison(result)


def print_comparison(result: ComparisonResult) -> None:
    """Tables of accuracy and AUROC; with alterations two more."""
    from wherefrom.report.attribution.tables import altered_table, comparison_table
    from wherefrom.report.pages.tables import plural

    click.echo("accuracy, %")
    print_table(comparison_table(result, "accuracy"))
    click.echo("\nAUROC, %")
    print_table(comparison_table(result, "auroc"))
    if result.altered:
        for measure, title in (("accuracy", "accuracy"), ("auroc", "AUROC")):
            click.echo(f"\n{title} on altered images, mean over the sources, %")
            print_table(altered_table(result, measure))
    click.echo(f"\nmean ± standard deviation over {plural(result.repetitions, 'repetition')}")


def _convert(kind: type, text: str) -> Any:
    """The text as a value of that type, as an option of a command would read it."""
    try:
        return click.types.convert_type(kind).convert(text, None, None)
    except click.BadParameter as error:
        raise InputError(error.message) from error
