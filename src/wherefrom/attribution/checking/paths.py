"""`check`: verdicts on images, files, folders or tables, by an attributor or its folder.

A file that cannot be judged is a row with a reason.  Several processes, each with one thread, judge
a large folder sooner: the inversion of an image is many small products, which gain little from
threads.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.checking.cache import Answers
from wherefrom.attribution.checking.discovery import control_discoveries
from wherefrom.attribution.checking.explaining import Explanation, explain
from wherefrom.attribution.checking.fitted import Attributor, load
from wherefrom.attribution.checking.same_source import judge_sources
from wherefrom.attribution.images.conditions import CLEAN
from wherefrom.attribution.result import CheckResult, ImageVerdict, cannot_say, judge_together
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.batches import BatchOptions, read_files
from wherefrom.data.folders import list_images, read_images
from wherefrom.data.images.in_memory import Pictures, in_memory, stacked
from wherefrom.data.tables.numbers import read_rows

Place = Path | str

PART = 64  # files that are read and judged together

_loaded: list[Attributor] = []  # of a worker process: its one attributor


def check(
    attributor: Attributor | Place,
    samples: Pictures,
    *,
    processes: int = 1,
    answers: Place | None = None,
    false_discovery_rate: float | None = None,
    same_source: bool = False,
    track: Track = quiet,
) -> CheckResult:
    """Say of every image, or row of numbers, whether the attributor's model made it.

    `attributor` is a fitted one or the folder of one; one that needs its generator is loaded first
    (`load`).  `samples` are a tensor, as `Attributor.check` takes it, files and folders, or arrays
    and Pillow images of one size (`data.images.in_memory`).  A file
    that cannot be judged gets "cannot say" and the reason.

    `processes` divide the files among them (spawned: a script needs the guard
    `if __name__ == "__main__"`), for which `attributor` must be a folder.  `answers` is an SQLite
    file, made if it is missing, that stores verdicts by digest: what it holds is not judged again.
    `false_discovery_rate` judges all samples together (`control_discoveries`).  `same_source` also
    gives one answer for each folder as a whole, for all single files, and for a tensor
    (`judge_sources`).
    """
    fitted = attributor if isinstance(attributor, Attributor) else load(attributor)
    if processes < 1:
        raise InputError(f"{processes} processes; give at least 1")
    if processes > 1 and isinstance(attributor, Attributor):
        raise InputError("several processes each load the attributor; give its folder instead")
    if same_source and fitted.judges_numbers:
        raise InputError(
            "same-source is for images, and this attributor judges rows, which are always judged "
            "together too; leave it out"
        )
    if not isinstance(samples, Tensor) and in_memory(samples):
        held: Any = samples
        samples = torch.as_tensor(held) if fitted.judges_numbers else stacked(held)
    paths: list[Path] | None = None
    if isinstance(samples, Tensor):
        if answers is not None or processes > 1:
            raise InputError("answers and processes are for files, and these samples are a tensor")
        result = fitted.check(samples, track=track)
    else:
        if answers is not None and fitted.judges_numbers:
            raise InputError("answers are stored of images, and this attributor judges rows")
        given: Any = [samples] if isinstance(samples, Path | str) else samples
        paths = [Path(path) for path in given]
        with nullcontext() if answers is None else Answers(Path(answers), fitted) as known:
            if isinstance(attributor, Attributor) or processes == 1 or fitted.judges_numbers:
                result = check_paths(fitted, paths, answers=known, track=track)
            else:
                files, folder = list_images(paths), Path(attributor)
                result = fitted.result(
                    check_in_processes(
                        folder, files, processes=processes, answers=known, track=track
                    )
                )
    if same_source:
        result = judge_sources(result, fitted, paths)
    if false_discovery_rate is not None:
        result = control_discoveries(result, false_discovery_rate)
    return result


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
        names = [str(path) for path in batch.paths]
        verdicts = fitted.judge(
            batch.images, names=names, digests=batch.digests, carriers=batch.carriers
        )
        rows |= dict(zip(batch.paths, verdicts, strict=True))
    return [rows[path] for path in files]


def _check_tables(fitted: Attributor, paths: Sequence[Path], track: Track) -> CheckResult:
    batch = read_rows(
        paths, fitted.image_shape, columns=fitted.provenance.get("columns"), at_least=0
    )
    unread = [cannot_say(str(path), reason) for path, reason in batch.skipped]
    if not batch.names:
        return fitted.result(unread)
    rows = fitted.judge(batch.values, names=batch.names, digests=batch.digests, track=track)
    result = fitted.result([*rows, *unread])
    p_values = [row.p_value for row in rows if row.p_value is not None]
    if not p_values:  # no row has a finite score
        return result
    together = judge_together(
        p_values, calibration=len(fitted.own_scores), rate=fitted.smallest_p_value(CLEAN)
    )
    return replace(result, together=together)


def check_in_processes(
    attributor: Path,
    files: Sequence[Path],
    *,
    processes: int,
    answers: Answers | None = None,
    track: Track = quiet,
) -> list[ImageVerdict]:
    """A verdict per image file by the attributor saved in a folder, from `processes` processes.

    The processes are spawned, so that a script that calls this needs the usual guard
    `if __name__ == "__main__"`.  An `InputError` if a process dies, as it does where memory ends.
    """
    done = 0

    def check_each(parts: Sequence[Sequence[Path]]) -> Iterator[list[ImageVerdict]]:
        nonlocal done
        if not parts:
            return
        with ProcessPoolExecutor(
            min(processes, len(parts)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(attributor,),
        ) as pool:
            for verdicts in pool.map(_check_part, parts):
                done += len(verdicts)
                yield verdicts

    try:
        return check_in_parts(files, check_each, answers, track=track)
    except BrokenProcessPool as error:
        raise InputError(
            f"a process ended before its answer, perhaps for want of memory; {done} of "
            f"{len(files)} files were judged; use fewer processes"
        ) from error


def _begin(attributor: Path) -> None:
    logging.captureWarnings(True)  # else a worker's warnings would stand beside a result in JSON
    torch.set_num_threads(1)
    _loaded.append(load(attributor))


def _check_part(files: Sequence[Path]) -> list[ImageVerdict]:
    return check_files(_loaded[0], files)


def explain_path(fitted: Attributor, path: Path) -> tuple[Explanation, Tensor]:
    """What the verdict on one image file rests on, and its pixels as they were judged.

    An `InputError` if the file cannot be judged: there is nothing to explain then.
    """
    path = Path(path)
    if fitted.judges_numbers:
        raise InputError("an explanation shows pixels, and this attributor judges rows of numbers")
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
