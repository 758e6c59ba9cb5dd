"""What the folder of a run holds for outliers: held-out images, and the calibration on them.

Which images are held out depends on their content and the seed, not on their names or order; equal
images stay together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.store import digest_tensors, is_artifact
from wherefrom.data.splits import split_indices
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.outliers.calibrated import (
    MIN_OWN,
    OutlierCalibration,
    OutlierConfig,
    OwnImages,
    calibrate_outliers,
)

CALIBRATION, HELD_OUT = "outliers", "held-out"  # inside the folder of a run


@dataclass(frozen=True, eq=False)
class HeldOut(Artifact):
    """Images of the training folder that the model has never seen, each content once."""

    kind: ClassVar[str] = "inversion/held-out"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "train again"
    images: Tensor  # (N, C, S, S) uint8
    share: float
    seed: int

    def to_saved(self) -> Saved:
        """The images, with the share and the seed that chose them."""
        meta = {"share": self.share, "seed": self.seed, "images": len(self.images)}
        return Saved(meta, {"images": self.images.contiguous()})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The held-out images again."""
        meta = saved.meta
        return cls(saved.tensors["images"], float(meta["share"]), int(meta["seed"]))


def hold_out(
    images: Tensor, labels: Tensor | None, share: float, *, seed: int
) -> tuple[Tensor, Tensor | None, HeldOut]:
    """Images (N, C, S, S) uint8 to train on, their labels, and what is held out of all contents."""
    if not 0 < share < 1:
        raise InputError(f"the share to hold out is {share}; give one between 0 and 1")
    first: dict[str, int] = {}
    keys = [digest_tensors({"": image}) for image in images]
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    count = round(share * len(first))
    if count < MIN_OWN:
        raise InputError(
            f"{share:g} of {len(first)} different images are {count}; hold out at least "
            f"{MIN_OWN}, better hundreds"
        )
    contents = list(first)
    held = {contents[i] for i in split_indices(contents, {"held": count}, seed=seed)["held"]}
    trained = [row for row, key in enumerate(keys) if key not in held]
    rows = [row for key, row in first.items() if key in held]
    rest = None if labels is None else labels[trained]
    return images[trained], rest, HeldOut(images[rows], share, seed)


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
    place, held = folder / CALIBRATION, folder / HELD_OUT
    saved = OutlierCalibration.load(place) if is_artifact(place) and not read_own else None
    is_default = config == OutlierConfig()
    if saved is not None and is_default:
        config = saved.config
    if saved is not None and config == saved.config and not needs_own and saved.fits(fitted):
        return saved, None
    if read_own is not None:
        own = read_own()
    elif is_artifact(held):
        own = OwnImages.distinct(HeldOut.load(held).images)
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
