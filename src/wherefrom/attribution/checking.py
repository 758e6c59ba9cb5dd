"""Verdicts for files and folders: a file that cannot be judged is a row, not a stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from wherefrom.attribution.explaining import Explanation, explain
from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.result import CheckResult, ImageVerdict
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.folders import list_images, read_images


def explain_path(fitted: Attributor, path: Path) -> tuple[Explanation, Tensor]:
    """What the verdict on one image file rests on, and its pixels as they were judged.

    An `InputError` if the file cannot be judged: there is nothing to explain then.
    """
    channels, height, width = fitted.image_shape
    path = Path(path)
    batch = read_images(
        [path], channels=channels, size=(height, width), resize="scaled" in fitted.further
    )
    if len(batch.paths) > 1:
        raise InputError(f"{path} is a folder of {len(batch.paths)} images; name one of them")
    found = explain(
        fitted,
        batch.images[0],
        name=str(batch.paths[0]),
        digest=batch.digests[0],
        carrier=batch.carriers[0],
    )
    return found, batch.images[0]


def check_paths(fitted: Attributor, paths: Sequence[Path], *, track: Track = quiet) -> CheckResult:
    """A verdict per image file below `paths`, in the order in which they are listed.

    A file that is unreadable or of another size gets "cannot say" and the reason; one of another
    size is scaled where the attributor was calibrated for that.  An `InputError`
    if a path does not exist or a folder holds no image.
    """
    channels, height, width = fitted.image_shape
    files = list_images(paths)
    batch = read_images(
        files,
        channels=channels,
        size=(height, width),
        resize="scaled" in fitted.further,
        at_least=0,
        drop_duplicates=False,
        track=track,
    )
    rows = {
        path: ImageVerdict(str(path), Verdict.CANNOT_SAY, None, None, None, reason)
        for path, reason in batch.skipped
    }
    if batch.paths:
        checked = fitted.check(
            batch.images,
            names=[str(path) for path in batch.paths],
            digests=batch.digests,
            carriers=batch.carriers,
            track=track,
        )
        rows |= dict(zip(batch.paths, checked.images, strict=True))
    return fitted.result([rows[path] for path in files])
