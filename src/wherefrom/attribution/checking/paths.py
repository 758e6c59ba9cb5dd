"""Verdicts for files, folders and tables; a file that cannot be judged is a row with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from wherefrom.attribution.checking.cache import Answers
from wherefrom.attribution.checking.explaining import Explanation, explain
from wherefrom.attribution.conditions import CLEAN
from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.result import CheckResult, ImageVerdict, cannot_say, judge_together
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.batches import BatchOptions, read_files
from wherefrom.data.folders import list_images, read_images
from wherefrom.data.tables.numbers import read_rows

PART = 64  # files that are read and judged together


def explain_path(fitted: Attributor, path: Path) -> tuple[Explanation, Tensor]:
    """What the verdict on one image file rests on, and its pixels as they were judged.

    An `InputError` if the file cannot be judged: there is nothing to explain then.
    """
    path = Path(path)
    _refuse_numbers(fitted)
    channels, height, width = fitted.image_shape
    batch = read_images(
        [path], channels=channels, size=(height, width), resize="scaled" in fitted.altered
    )
    if len(batch.paths) > 1:
        raise InputError(f"{path} is a folder of {len(batch.paths)} images; name one of them")
    explanation = explain(
        fitted,
        batch.images[0],
        name=str(batch.paths[0]),
        digest=batch.digests[0],
        carrier=batch.carriers[0],
    )
    return explanation, batch.images[0]


def check_paths(
    fitted: Attributor,
    paths: Sequence[Path],
    *,
    answers: Answers | None = None,
    track: Track = quiet,
) -> CheckResult:
    """A verdict per image file below `paths`, in the order in which they are listed.

    A file that is unreadable or of another size gets "cannot say" and the reason; one of another
    size is scaled where the attributor was calibrated for that.  An `InputError`
    if a path does not exist or a folder holds no image.  What `answers` hold is not judged again.
    An attributor of rows reads tables (`data.tables`): one verdict per row, and one for all of them
    together.
    """
    if fitted.judges_numbers:
        return _check_tables(fitted, paths, track)
    check_each = partial(map, partial(check_files, fitted))
    return fitted.result(check_in_parts(list_images(paths), check_each, answers, track=track))


def check_in_parts(
    files: Sequence[Path],
    check_each: Callable[[Sequence[Sequence[Path]]], Iterable[list[ImageVerdict]]],
    answers: Answers | None = None,
    *,
    track: Track = quiet,
) -> list[ImageVerdict]:
    """A verdict per file; `check_each` judges parts of the files in their order.

    What `answers` hold is not judged again, and new verdicts are stored there part by part.
    """
    rows = {} if answers is None else answers.find(files)
    unknown = [path for path in files if path not in rows]
    parts = [unknown[start : start + PART] for start in range(0, len(unknown), PART)]
    verdicts = track(check_each(parts), "checking images", total=len(parts))
    for part, part_rows in zip(parts, verdicts, strict=True):
        rows |= dict(zip(part, part_rows, strict=True))
        if answers is not None:
            answers.store(part_rows)
    return [rows[path] for path in files]


def check_files(fitted: Attributor, files: Sequence[Path]) -> list[ImageVerdict]:
    """A verdict per image file, in the order given; a file that is gone by now gets one, too."""
    channels, height, width = fitted.image_shape
    wanted = BatchOptions(
        channels,
        (height, width),
        resize="scaled" in fitted.altered,
        at_least=0,
        drop_duplicates=False,
    )
    batch = read_files(files, "the files", wanted)
    rows = {file.path: cannot_say(str(file.path), file.reason) for file in batch.skipped}
    if batch.paths:
        checked = fitted.check(
            batch.images,
            names=[str(path) for path in batch.paths],
            digests=batch.digests,
            carriers=batch.carriers,
        )
        rows |= dict(zip(batch.paths, checked.images, strict=True))
    return [rows[path] for path in files]


def _check_tables(fitted: Attributor, paths: Sequence[Path], track: Track) -> CheckResult:
    batch = read_rows(
        paths, fitted.image_shape, columns=fitted.provenance.get("columns"), at_least=0
    )
    unread = [cannot_say(str(path), reason) for path, reason in batch.skipped]
    if not batch.names:
        return fitted.result(unread)
    checked = fitted.check(batch.values, names=batch.names, digests=batch.digests, track=track)
    result = fitted.result([*checked.images, *unread])
    p_values = [row.p_value for row in checked.images if row.p_value is not None]
    if not p_values:  # no row has a finite score
        return result
    together = judge_together(
        p_values, calibration=len(fitted.own_scores), rate=fitted.smallest_p_value(CLEAN)
    )
    return replace(result, together=together)


def _refuse_numbers(fitted: Attributor) -> None:
    if fitted.judges_numbers:
        raise InputError("an explanation shows pixels, and this attributor judges rows of numbers")
