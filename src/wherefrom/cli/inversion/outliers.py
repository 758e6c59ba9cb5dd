"""`wherefrom inversion outliers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wherefrom.cli.console.options import FILE, ConfigCommand, device_option
from wherefrom.cli.console.session import Session, print_json, print_table
from wherefrom.cli.inversion.images import load_model, read_own, seed_option
from wherefrom.cli.inversion.inputs import json_option, model_argument, read_batch
from wherefrom.core.errors import InputError
from wherefrom.core.json_text import to_json

if TYPE_CHECKING:
    from torch import Tensor

    from wherefrom.inversion.model import FittedInverter
    from wherefrom.inversion.outliers.calibrated import OutlierCalibration, OutlierConfig
    from wherefrom.inversion.outliers.subtlety import SubtletyCurve

PLACE = "outliers"
CURVE_SUFFIXES = (".csv", ".json", ".svg")


def _presets() -> Mapping[str, OutlierConfig]:
    from wherefrom.inversion.outliers.calibrated import OutlierConfig

    return {"default": OutlierConfig()}


@click.command(cls=ConfigCommand, presets=_presets)
@model_argument
@click.argument("images", type=FILE, nargs=-1, required=True)
@click.option(
    "--own",
    type=FILE,
    multiple=True,
    help="Normal images that the model was not trained on; not needed after train --hold-out.",
)
@click.option(
    "--fpr",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of normal images that may be flagged; of discoveries that may be wrong.",
)
@click.option("--report", type=FILE, help="Write an HTML page.")
@click.option("--csv", "table", type=FILE, help="Write the ranked list as CSV.")
@click.option(
    "--curve",
    type=FILE,
    help="Write how small a defect is still seen, .csv, .json or .svg; needs own images.",
)
@seed_option
@device_option
@json_option
@click.pass_obj
def outliers(
    session: Session,
    *,
    model: Path,
    images: tuple[Path, ...],
    own: tuple[Path, ...],
    fpr: float,
    report: Path | None,
    table: Path | None,
    curve: Path | None,
    seed: int,
    device: str,
    as_json: bool,
    config: OutlierConfig,
) -> None:
    """Rank images by how unlike those of the model they are, with a threshold by rate.

    The first call needs --own, unless the model was trained with --hold-out; the score is chosen
    there by built-in damage to these images, and calibrated on others of them.  Later calls use
    that again.

    \b
    Example:
      wherefrom inversion outliers model/ images/ --own normal/ --fpr 0.01 --report page.html
    """
    from wherefrom.inversion.outliers.calibrated import judge_outliers
    from wherefrom.report.inversion.tables import OUTLIER_SHOWN, outlier_line, outlier_table
    from wherefrom.report.pages.tables import to_csv

    _check_targets(report, table, curve)
    fitted = load_model(model, device)
    damaged = report is not None or curve is not None
    calibration, measured = _calibration(session, fitted, model, own, config, seed, damaged=damaged)
    if curve is not None and measured is None:
        raise InputError("--curve damages own images; give them with --own")
    calibration.threshold(fpr)  # refuses a rate that is not supported before the images are read
    found = judge_outliers(fitted, calibration, read_batch(session, images, fitted), rate=fpr)
    shape = _curve(session, fitted, calibration, measured, fpr, seed, report, curve)
    if found.warning:
        session.note(f"warning: {found.warning}")
    if report is not None:
        from wherefrom.report.inversion.page import write_outliers

        write_outliers(report, found, calibration, curve=shape, track=session.track)
    if table is not None:
        _write(table, to_csv(outlier_table(found)))
    if curve is not None and shape is not None:
        _write_curve(curve, shape)
    if as_json:
        curve_told = {} if shape is None else {"subtlety": shape.to_dict()}
        print_json({**found.to_dict(), "self_test": dict(calibration.self_test), **curve_told})
        return
    print_table(outlier_table(found).select(*OUTLIER_SHOWN))
    click.echo(outlier_line(found))


def _check_targets(report: Path | None, table: Path | None, curve: Path | None) -> None:
    from wherefrom.report.pages.files import check_target
    from wherefrom.report.pages.html import PAGE_SUFFIXES

    for path, option, suffixes in (
        (report, "--report", PAGE_SUFFIXES),
        (table, "--csv", (".csv",)),
        (curve, "--curve", CURVE_SUFFIXES),
    ):
        if path is not None:
            check_target(path, option=option, suffixes=suffixes)


def _calibration(
    session: Session,
    fitted: FittedInverter,
    model: Path,
    own: tuple[Path, ...],
    config: OutlierConfig,
    seed: int,
    *,
    damaged: bool,
) -> tuple[OutlierCalibration, tuple[Tensor, list[str]] | None]:
    """The calibration, new or kept, and the own images where they are at hand.

    Images that `train` held out are own images; a kept calibration is enough where no setting
    changes and nothing is `damaged` for a curve.
    """
    from wherefrom.core.store import is_artifact
    from wherefrom.inversion.outliers.calibrated import (
        OutlierCalibration,
        OutlierConfig,
        calibrate_outliers,
    )
    from wherefrom.inversion.outliers.holding_out import PLACE as HELD
    from wherefrom.inversion.outliers.holding_out import HeldOut

    place = model / PLACE
    known = OutlierCalibration.load(place) if is_artifact(place) and not own else None
    asked = config
    if known is not None and asked == OutlierConfig():
        config = known.config  # made again, where it must be, as it was
    if known is not None and config == known.config and not damaged and known.fits(fitted):
        return known, None
    if own:
        images, keys = read_own(session, own, fitted)
    elif is_artifact(model / HELD):
        held = HeldOut.load(model / HELD)
        images, keys = held.images, held.keys
    elif known is None:
        raise InputError(
            f"{model} has no calibration of outliers yet; give --own FOLDER with normal images "
            "that it was not trained on, or train with --hold-out"
        )
    elif asked != OutlierConfig():
        raise InputError("settings of the score take effect with --own only; give it too")
    else:
        return known, None
    made = calibrate_outliers(
        fitted, images, keys=keys, config=config, seed=seed, track=session.track
    )
    made.save(place, overwrite=True)
    means = ", ".join(f"{name} {value:.2f}" for name, value in made.self_test["means"].items())
    session.note(f"score: {made.score} (mean AUROC on built-in damage: {means}); kept in {place}")
    return made, (images, keys)


def _curve(
    session: Session,
    fitted: FittedInverter,
    calibration: OutlierCalibration,
    measured: tuple[Tensor, list[str]] | None,
    rate: float,
    seed: int,
    report: Path | None,
    curve: Path | None,
) -> SubtletyCurve | None:
    """Measured only where somebody will see it."""
    if measured is None or (report is None and curve is None):
        return None
    from wherefrom.data.writing import to_float
    from wherefrom.inversion.outliers.calibrated import own_parts
    from wherefrom.inversion.outliers.subtlety import subtlety_curve

    images, keys = measured
    rows = own_parts(keys, seed=seed)["curve"]
    if len(rows) < 2 and curve is None:
        return None  # a report without it; --curve says what is missing
    return subtlety_curve(
        calibration.detector(fitted),
        to_float(images[rows]),
        calibration.threshold(rate),
        score=calibration.score,
        rate=rate,
        keys=[keys[row] for row in rows],
        seed=seed,
        track=session.track,
    )


def _write_curve(path: Path, curve: SubtletyCurve) -> None:
    from wherefrom.report.inversion.tables import subtlety_table
    from wherefrom.report.pages.tables import to_csv

    suffix = path.suffix.lower()
    if suffix == ".csv":
        _write(path, to_csv(subtlety_table(curve)))
    elif suffix == ".json":
        _write(path, to_json(curve.to_dict()) + "\n")
    else:
        from wherefrom.report.inversion.figures import subtlety_plot
        from wherefrom.report.pages.html import from_data_uri

        _write(path, from_data_uri(subtlety_plot(curve)[0]).decode())


def _write(path: Path, text: str) -> None:
    from wherefrom.report.pages.files import write_text

    write_text(path, text)
