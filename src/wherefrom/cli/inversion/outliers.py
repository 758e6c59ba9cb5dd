"""`wherefrom inversion outliers`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console import options as cli
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.inversion.inputs import load_model, model_argument, read_batch, read_own
from wherefrom.core.errors import InputError
from wherefrom.core.saving.json_text import to_json

if TYPE_CHECKING:
    from wherefrom.inversion.model import FittedInverter
    from wherefrom.inversion.outliers.calibrated import OutlierCalibration, OutlierConfig, OwnImages
    from wherefrom.inversion.outliers.subtlety import SubtletyCurve

CURVE_SUFFIXES = (".csv", ".json", ".svg")


@dataclass(frozen=True, kw_only=True)
class OutlierOptions:
    """The options of `outliers`."""

    model: Path = cli.use(model_argument)
    images: tuple[Path, ...] = cli.argument()
    own: tuple[Path, ...] = cli.option(
        "Normal images that the model was not trained on; not needed after train --hold-out."
    )
    fpr: float = cli.option(
        "Share of normal images that may be flagged; of discoveries that may be wrong.", 0.01
    )
    report: Path | None = cli.option("Write an HTML page.")
    table: Path | None = cli.option("Write the ranked list as CSV.", flag="--csv")
    curve: Path | None = cli.option(
        "Write how weak damage is still detected, as .csv, .json or .svg; needs own images."
    )
    seed: int = cli.use(cli.seed_option)
    device: str = cli.use(cli.device_option)
    as_json: bool = cli.use(cli.json_option)
    config: OutlierConfig


@click.command(
    cls=cli.ConfigCommand, presets=cli.default_of("inversion.outliers.calibrated:OutlierConfig")
)
@cli.with_options(OutlierOptions)
def outliers(session: Session, options: OutlierOptions) -> None:
    """Rank images by how much they differ from those of the model, with a threshold by rate.

    The first call needs --own, unless the model was trained with --hold-out; the score is chosen
    there by built-in damage to these images, and calibrated on others of them.  Later calls use
    that again.

    \b
    Example:
      wherefrom inversion outliers model/ images/ --own normal/ --fpr 0.01 --report page.html
    """
    from wherefrom.inversion.outliers.calibrated import find_outliers
    from wherefrom.report.inversion.tables import OUTLIER_SHOWN, outlier_line, outlier_table
    from wherefrom.report.pages.files import write_text
    from wherefrom.report.pages.tables import to_csv

    cli.check_output(options.report, "--report")
    cli.check_output(options.table, "--csv", ".csv")
    cli.check_output(options.curve, "--curve", *CURVE_SUFFIXES)
    fitted = load_model(session, options.model, options.device)
    calibration, own = _calibration(session, fitted, options)
    if options.curve is not None and own is None:
        raise InputError("--curve damages own images; give them with --own")
    calibration.threshold(options.fpr)  # refuses an unsupported rate before the images are read
    batch = read_batch(session, options.images, fitted)
    result = find_outliers(fitted, calibration, batch, rate=options.fpr)
    curve = _curve(session, fitted, calibration, own, options)
    if result.warning:
        session.note(f"warning: {result.warning}")
    if options.report is not None:
        from wherefrom.report.inversion.page import write_outliers

        write_outliers(options.report, result, calibration, curve=curve, track=session.track)
    if options.table is not None:
        write_text(options.table, to_csv(outlier_table(result)))
    if options.curve is not None and curve is not None:
        _write_curve(options.curve, curve)
    if options.as_json:
        values = {} if curve is None else {"subtlety": curve.to_dict()}
        print_json({**result.to_dict(), "self_test": dict(calibration.self_test), **values})
        return
    print_table(outlier_table(result).select(*OUTLIER_SHOWN))
    click.echo(outlier_line(result))


def _calibration(
    session: Session, fitted: FittedInverter, options: OutlierOptions
) -> tuple[OutlierCalibration, OwnImages | None]:
    """The calibration of the model's folder, new or saved, and own images where they were read."""
    from wherefrom.inversion.outliers.of_run import CALIBRATION, calibration_of_run

    def read() -> OwnImages:
        return read_own(session, options.own, fitted)

    calibration, own = calibration_of_run(
        options.model,
        fitted,
        config=options.config,
        read_own=read if options.own else None,
        needs_own=options.report is not None or options.curve is not None,
        seed=options.seed,
        track=session.track,
    )
    if own is not None:
        means = ", ".join(f"{name} {v:.2f}" for name, v in calibration.self_test["means"].items())
        session.note(
            f"score: {calibration.score} (mean AUROC on built-in damage: {means}); kept in "
            f"{options.model / CALIBRATION}"
        )
    return calibration, own


def _curve(
    session: Session,
    fitted: FittedInverter,
    calibration: OutlierCalibration,
    own: OwnImages | None,
    options: OutlierOptions,
) -> SubtletyCurve | None:
    """The curve of damage; None where no option shows it or no own images were read."""
    if own is None or (options.report is None and options.curve is None):
        return None
    from wherefrom.inversion.outliers.calibrated import own_parts
    from wherefrom.inversion.outliers.subtlety import measure_subtlety

    if options.curve is None and len(own_parts(own.keys, seed=options.seed)["curve"]) < 2:
        return None  # a report without it; --curve says what is missing
    return measure_subtlety(
        fitted, calibration, own, rate=options.fpr, seed=options.seed, track=session.track
    )


def _write_curve(path: Path, curve: SubtletyCurve) -> None:
    from wherefrom.report.inversion.tables import subtlety_table
    from wherefrom.report.pages.files import write_text
    from wherefrom.report.pages.tables import to_csv

    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_text(path, to_csv(subtlety_table(curve)))
    elif suffix == ".json":
        write_text(path, to_json(curve.to_dict()) + "\n")
    else:
        from wherefrom.report.inversion.page import subtlety_plot
        from wherefrom.report.pages.html import from_data_uri

        write_text(path, from_data_uri(subtlety_plot(curve)[0]).decode())
