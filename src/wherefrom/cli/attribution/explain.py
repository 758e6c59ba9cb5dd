"""`wherefrom attribution explain`: what the verdict on one image rests on."""

from __future__ import annotations

from pathlib import Path

import click

from wherefrom.cli.attribution.inputs import generator_if_named, optional_generator
from wherefrom.cli.console.options import FILE
from wherefrom.cli.console.session import Session, print_json, print_table


@click.command()
@click.argument("attributor", type=FILE)
@click.argument("image", type=FILE)
@optional_generator("The model, which an attributor of an inversion method needs.")
@click.option("--report", type=FILE, help="Write a page there, and .json beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.pass_obj
def explain(
    session: Session,
    *,
    attributor: Path,
    image: Path,
    spec: str | None,
    weights: Path | None,
    latent: tuple[int, ...] | None,
    value_range: tuple[float, float] | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Say what the verdict on one image rests on.

    Where its score lies among the calibration images, which activation channels differ most, which
    pixels the model's last layer was not found to make, and whether the verdict stands after the
    image is compressed, scaled, cropped or softened once more.

    \b
    Example:
      wherefrom attribution explain mine.attributor suspect.png --report suspect.html
    """
    from wherefrom import attribution as question
    from wherefrom.data.notebook import encode_picture
    from wherefrom.data.shaping import to_image
    from wherefrom.report.attribution.evidence import evidence_dict, write_evidence_report
    from wherefrom.report.pages.files import check_target
    from wherefrom.report.pages.tables import explanation_table

    if report is not None:
        check_target(report, option="--report", suffixes=(".html", ".htm"))
        check_target(report.with_suffix(".json"), option="--report", suffixes=(".json",))
    generator = generator_if_named(spec, weights, latent, value_range)
    fitted = question.load(attributor, generator=generator)
    found, pixels = question.explain_path(fitted, image)
    result = fitted.result([found.image])
    if report is not None:
        picture = encode_picture(to_image(pixels), side=256)
        beside = write_evidence_report(report, found, result, picture=picture)
        session.note(f"wrote {report} and {beside}")
    if as_json:
        print_json(dict(evidence_dict(found, result)))
        return
    row = found.image
    click.echo(f"{row.name}: {row.verdict}" + (f" ({row.reason})" if row.reason else ""))
    print_table(explanation_table(found))
