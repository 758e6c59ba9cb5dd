"""`wherefrom attribution evaluate`: one attributor, or methods side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wherefrom.cli.attribution.inputs import (
    Outputs,
    generator_if_named,
    learns_codec,
    lossy_option,
    most_others,
    optional_generator,
    output_options,
    read_shaped,
    read_sources,
)
from wherefrom.cli.console.options import FILE, F, NamedFolder, device_option, resolve_device
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.attribution import AttributionConfig, Attributor, ComparisonResult
    from wherefrom.data.altering.degradations import Alteration
    from wherefrom.generators.generator import Generator

ALL = "all"


@dataclass(frozen=True)
class Asked:
    """What to compare: methods by name, their preset, settings as NAME=VALUE."""

    methods: tuple[str, ...]
    preset: str
    settings: tuple[str, ...]
    own_samples: int
    repetitions: int
    seed: int
    device: str
    alter: tuple[str, ...]

    def check(
        self,
        attributor: Path | None,
        own: Path | None,
        spec: str | None,
        others: tuple[Path, ...],
        report: Path | None,
    ) -> None:
        """An `InputError` unless the options are those of one attributor, or of a comparison."""
        if not self.methods:
            if attributor is None or own is None:
                raise InputError(
                    "nothing to evaluate: give an attributor and --own, or --method, --generator "
                    "and --others to compare methods"
                )
            if others or self.alter:
                name = "--others are" if others else "--alter is"
                raise InputError(f"{name} for --method; an attributor has been fitted")
            return
        if spec is None or not others:
            raise InputError("--method fits anew, so it needs --generator and --others")
        if attributor is not None or own is not None or report is not None:
            raise InputError(
                "--method fits anew and draws own images itself; leave the attributor, --own and "
                "--report out"
            )
        self.configs()
        self.alterations()

    def alterations(self) -> tuple[Alteration, ...]:
        """What is done to the images that are judged; an `InputError` for what is no alteration."""
        from wherefrom.data.altering.degradations import TABLE_3, Alteration

        found: dict[Alteration, None] = {}
        for text in self.alter:
            found |= dict.fromkeys(TABLE_3 if text == ALL else (Alteration.parse(text),))
        return tuple(found)

    def configs(self) -> dict[str, AttributionConfig]:
        """The settings of every method asked for; an `InputError` for one that none of them has."""
        from wherefrom.attribution.methods import METHODS, find_method

        names = list(dict.fromkeys(self.methods))
        if ALL in names:  # for rows of numbers, those that judge them
            names = [name for name, one in METHODS.items() if self.preset in one.presets]
        given = dict(_setting(text) for text in self.settings)
        found, used = {}, set()
        for name in names:
            presets = find_method(name).presets
            if self.preset not in presets:
                raise InputError(f"{name} has no preset {self.preset!r}; it has {list(presets)}")
            config = presets[self.preset]
            own = {key: value for key, value in given.items() if _has(config.to_dict(), key)}
            used |= set(own)
            found[name] = config.with_values(
                {key: _converted(config, key, value) for key, value in own.items()}
            )
        for key in given:
            if key not in used:
                raise InputError(f"--setting {key}: none of {', '.join(names)} has that setting")
        return found


def comparison_options(command: F) -> F:
    """The options of `Asked`, and `--others`."""
    for option in (
        device_option,
        click.option("--seed", default=0, show_default=True, help="With --method: the seed."),
        click.option(
            "--repetitions",
            type=click.IntRange(min=1),
            default=5,
            show_default=True,
            help="With --method: fits per method, each on new images.",
        ),
        click.option(
            "--own-samples",
            type=click.IntRange(min=1),
            default=1000,
            show_default=True,
            help="With --method: own images to judge, drawn from the generator.",
        ),
        click.option(
            "--alter",
            multiple=True,
            metavar="KIND=STRENGTH",
            help="With --method: also judge all images after this, with a threshold from own "
            "images after it: jpeg=80, webp=80, noise=0.1, blur=1, crop=0.9; or all: the paper's. "
            "Repeatable.",
        ),
        click.option(
            "--setting",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="With --method: a setting, as in detector.epochs=10, for every "
            "method that has it.  Repeatable.",
        ),
        click.option(
            "--preset",
            default="default",
            show_default=True,
            help="With --method: the set of settings of each method.",
        ),
        click.option(
            "--others",
            type=FILE,
            multiple=True,
            help="With --method: images the model did not make, for the fits.  Repeatable.",
        ),
        click.option(
            "--method",
            "methods",
            multiple=True,
            help=f"A method to fit and compare, or {ALL}.  Repeatable.",
        ),
    ):
        command = option(command)
    return command


def fitting(session: Session, asked: Asked, generator: Generator) -> dict[str, AttributionConfig]:
    """The settings of the methods asked for; of all, those that the generator has the parts for."""
    from wherefrom.attribution.methods import METHODS

    configs = asked.configs()
    if ALL not in asked.methods:
        return configs
    lacking = {name: METHODS[name].lacks(generator) for name in configs}
    for name, part in lacking.items():
        if part:
            session.note(f"note: {name} is left out: the model has no {part}")
    return {name: config for name, config in configs.items() if not lacking[name]}


def run_comparison(
    session: Session,
    asked: Asked,
    generator: Generator,
    others: Tensor,
    rivals: Mapping[str, Tensor],
) -> ComparisonResult:
    """Compare on the images that were read."""
    from wherefrom.attribution import compare

    return compare(
        generator,
        others,
        rivals,
        configs=fitting(session, asked, generator),
        alterations=asked.alterations(),
        own_samples=asked.own_samples,
        repetitions=asked.repetitions,
        seed=asked.seed,
        track=session.track,
        device=resolve_device(asked.device),
    )


def print_comparison(result: ComparisonResult, *, as_json: bool) -> None:
    """Tables of accuracy and AUROC, with alterations two more; or one JSON object."""
    from wherefrom.report.pages.tables import altered_table, comparison_table
    from wherefrom.report.pages.text import plural

    if as_json:
        print_json(result.to_dict())
        return
    click.echo("accuracy, %")
    print_table(comparison_table(result, "accuracy"))
    click.echo("\nAUROC, %")
    print_table(comparison_table(result, "auroc"))
    if result.altered:
        for measure, title in (("accuracy", "accuracy"), ("auroc", "AUROC")):
            click.echo(f"\n{title} on altered images, mean over the sources, %")
            print_table(altered_table(result, measure))
    click.echo(f"\nmean ± standard deviation over {plural(result.repetitions, 'repetition')}")


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise InputError(f"--setting {text!r} is not of the form name=value")
    return name, value


def _has(values: Mapping[str, Any], name: str) -> bool:
    head, _, rest = name.partition(".")
    if not rest:
        return head in values and not isinstance(values[head], Mapping)
    inner = values.get(head)
    return isinstance(inner, Mapping) and _has(inner, rest)


def _converted(config: Any, name: str, text: str) -> Any:
    """The text as the setting's own type."""
    *groups, last = name.split(".")
    for group in groups:
        config = getattr(config, group)
    info = next(info for info in config.describe() if info.name == last)
    try:
        return click.types.convert_type(info.type).convert(text, None, None)
    except click.BadParameter as error:
        raise InputError(f"--setting {name}={text}: {error.message}") from error


@click.command()
@click.argument("attributor", type=FILE, required=False)
@click.option("--own", type=FILE, help="Images that the model made, unaltered.")
@click.option(
    "--other",
    "sources",
    type=NamedFolder(),
    required=True,
    multiple=True,
    help="Images of another source, and what to call it.  Repeatable.",
)
@click.option("--resize", is_flag=True, help="Crop and scale the other images to the model's size.")
@optional_generator("The model: to compare methods, or for an attributor of an inversion method.")
@lossy_option
@comparison_options
@output_options
@click.pass_obj
def evaluate(
    session: Session,
    /,
    *,
    attributor: Path | None,
    own: Path | None,
    sources: tuple[tuple[str, Path], ...],
    resize: bool,
    lossy_others: bool,
    spec: str | None,
    weights: Path | None,
    latent: tuple[int, ...] | None,
    value_range: tuple[float, float] | None,
    others: tuple[Path, ...],
    as_json: bool,
    report: Path | None,
    csv: Path | None,
    **comparison: Any,
) -> None:
    """Measure an attributor on images of known origin that it has not seen.

    With --method instead of an attributor: fit these methods several times on the same images, and
    show them side by side.

    \b
    Example:
      wherefrom attribution evaluate mine.attributor --own own/ --other photos=photos/ --json
      wherefrom attribution evaluate --method all --generator my.py:G --weights g.safetensors \\
        --others real_photos/ --other rival=rival/ --repetitions 5 --alter jpeg=80
    """
    from wherefrom.attribution import load
    from wherefrom.report.pages.tables import comparison_cells

    outputs = Outputs(as_json, report, csv)
    outputs.prepare()
    asked = Asked(**comparison)
    asked.check(attributor, own, spec, others, report)
    generator = generator_if_named(spec, weights, latent, value_range)
    if generator is not None and asked.methods:
        learns = learns_codec(asked.configs().values(), allowed=lossy_others)
        images = read_shaped(
            session,
            others,
            generator.image_shape,
            resize=resize,
            learns=learns,
            most=most_others(asked.configs().values()),
        )
        rivals = read_sources(session, sources, generator.image_shape, resize=resize)
        compared = run_comparison(session, asked, generator, images, rivals)
        outputs.save_csv(comparison_cells(compared))
        print_comparison(compared, as_json=as_json)
    elif attributor is not None and own is not None:
        fitted = load(attributor, generator=generator)
        shape = fitted.image_shape
        rivals = read_sources(session, sources, shape, resize=resize)
        made = read_shaped(session, (own,), shape, resize=False)
        _evaluate_one(session, fitted, made, rivals, outputs)


def _evaluate_one(
    session: Session,
    fitted: Attributor,
    own: Tensor,
    sources: Mapping[str, Tensor],
    outputs: Outputs,
) -> None:
    from wherefrom import attribution as question
    from wherefrom.report.attribution.wording import evaluation_notes
    from wherefrom.report.pages.tables import accuracy_line, evaluation_table

    result = question.evaluate(fitted, own, sources, track=session.track)
    for note in evaluation_notes(result):
        session.note(f"note: {note}")
    table = evaluation_table(result)
    outputs.save_csv(table)
    if outputs.report is not None:
        from wherefrom.report.attribution.page import write_evaluation_report

        write_evaluation_report(outputs.report, result, fitted)
        session.note(f"wrote {outputs.report}")
    if outputs.as_json:
        print_json(result.to_dict())
    else:
        print_table(table)
        click.echo(accuracy_line(result))
