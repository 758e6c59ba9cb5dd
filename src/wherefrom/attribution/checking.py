"""Verdicts for files and folders: a file that cannot be judged is a row, not a stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.result import CheckResult, ImageVerdict
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.progress import Track, quiet
from wherefrom.data.folders import list_images, read_images


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
