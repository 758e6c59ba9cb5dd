"""The calibration of outliers in the folder of a run: read from there, or made and saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import is_artifact
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.outliers import holding_out
from wherefrom.inversion.outliers.calibrated import (
    OutlierCalibration,
    OutlierConfig,
    OwnImages,
    calibrate_outliers,
)

PLACE = "outliers"  # inside the folder of a run


def calibration_of_run(
    folder: Path,
    fitted: FittedInverter,
    *,
    config: OutlierConfig,
    read_own: Callable[[], OwnImages] | None = None,
    needs_own: bool = False,
    seed: int = 0,
    track: Track = quiet,
) -> tuple[OutlierCalibration, OwnImages | None]:
    """The calibration, saved in `folder`, and the own images if they had to be read.

    Own images are what `read_own` gives, or those that the run held out.  With neither, a saved
    calibration is used; it is used without reading them where no setting changes and nothing
    `needs_own`.  An `InputError` where there is nothing to calibrate on.
    """
    place, held = folder / PLACE, folder / holding_out.PLACE
    saved = OutlierCalibration.load(place) if is_artifact(place) and not read_own else None
    is_default = config == OutlierConfig()
    if saved is not None and is_default:
        config = saved.config
    if saved is not None and config == saved.config and not needs_own and saved.fits(fitted):
        return saved, None
    if read_own is not None:
        own = read_own()
    elif is_artifact(held):
        own = OwnImages.distinct(holding_out.HeldOut.load(held).images)
    elif saved is None:
        raise InputError(
            f"{folder} has no calibration of outliers yet; give --own FOLDER with normal images "
            "that it was not trained on, or train with --hold-out"
        )
    elif not is_default:
        raise InputError("settings of the score take effect with --own only; give it too")
    else:
        return saved, None
    calibration = calibrate_outliers(
        fitted, own.images, keys=own.keys, config=config, seed=seed, track=track
    )
    calibration.save(place, overwrite=True)
    return calibration, own
