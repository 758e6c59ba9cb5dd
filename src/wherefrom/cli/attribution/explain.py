"""`wherefrom attribution explain`: what the verdict on one image rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from wherefrom.cli.attribution.inputs import generator_option
from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table


@dataclass(frozen=True, kw_only=True)
class ExplainVerdictOptions(cli.GeneratorOptions):
    """The options of `explain`."""

    attributor: Path = cli.argument()
    image: Path = cli.argument()
    spec: str | None = generator_option(
        "The model, which an attributor of an inversion method needs."
    )
    report: Path | None = cli.option("Write a page there, and .json beside it.")
    as_json: bool = cli.use(cli.json_option)
    device: str = cli.use(cli.device_option)


@click.command()
@cli.with_options(ExplainVerdictOptions)
def explain(session: Session, options: ExplainVerdictOptions) -> None:
    """Say what the verdict on one image rests on.

    Where its score lies among the calibration images, and whether the verdict stands after the
    image is compressed, scaled, cropped or softened once more.  An attributor of flipad or ensemble
    also shows which activation channels differ most, and which pixels the model's last layer was
    not found to make.

    \b
    Example:
      wherefrom attribution explain mine.attributor suspect.png --report suspect.html
    """
    from wherefrom import attribution as question
    from wherefrom.attribution.checking.paths import explain_path
    from wherefrom.data.images.items import to_image
    from wherefrom.data.images.notebook import encode_picture
    from wherefrom.report.attribution.evidence import evidence_dict, write_evidence_report
    from wherefrom.report.attribution.tables import explanation_table

    if options.report is not None:
        cli.check_output(options.report, "--report")
        cli.check_output(options.report.with_suffix(".json"), "--report", ".json")
    place = cli.resolve_device(options.device)
    fitted = question.load(options.attributor, generator=options.load_if_named(), device=place)
    explanation, pixels = explain_path(fitted, options.image)
    result = fitted.result([explanation.image])
    if options.report is not None:
        picture = encode_picture(to_image(pixels), side=256)
        beside = write_evidence_report(options.report, explanation, result, picture=picture)
        session.note(f"wrote {options.report} and {beside}")
    if options.as_json:
        print_json(dict(evidence_dict(explanation, result)))
        return
    row = explanation.image
    click.echo(f"{row.name}: {row.verdict}" + (f" ({row.reason})" if row.reason else ""))
    print_table(explanation_table(explanation))
