"""A large folder checked by several processes, each with one thread: the same answers, sooner.

The inversion of an image is many small products, of which threads share each; processes share the
images instead.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from wherefrom.attribution.checking.cache import Answers
from wherefrom.attribution.checking.paths import check_files, check_in_parts, check_paths
from wherefrom.attribution.fitted import Attributor, load
from wherefrom.attribution.result import CheckResult, ImageVerdict
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.folders import list_images

_loaded: list[Attributor] = []  # of a worker process: its one attributor


def check_in_processes(
    attributor: Path,
    paths: Sequence[Path],
    *,
    processes: int,
    fitted: Attributor | None = None,
    answers: Answers | None = None,
    track: Track = quiet,
) -> CheckResult:
    """What `check_paths` says of a saved attributor and these paths, by `processes` processes.

    `fitted` is the same attributor where it was loaded already.
    The processes are spawned, so that a script that calls this needs the usual guard
    `if __name__ == "__main__"`.  An `InputError` for less than one process, and if a process dies,
    as it does where memory ends.
    """
    if processes < 1:
        raise InputError(f"{processes} processes; give at least 1")
    fitted = fitted or load(attributor)
    if processes == 1 or fitted.judges_numbers:
        return check_paths(fitted, paths, answers=answers, track=track)
    files, done = list_images(paths), 0

    def judged(parts: Sequence[Sequence[Path]]) -> Iterator[list[ImageVerdict]]:
        nonlocal done
        if not parts:
            return
        with ProcessPoolExecutor(
            min(processes, len(parts)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(attributor,),
        ) as pool:
            for found in pool.map(_check_part, parts):
                done += len(found)
                yield found

    try:
        rows = check_in_parts(files, judged, answers, track=track)
    except BrokenProcessPool as error:
        raise InputError(
            f"a process ended before its answer, perhaps for want of memory; {done} of "
            f"{len(files)} files were judged; use fewer processes"
        ) from error
    return fitted.result(rows)


def _begin(attributor: Path) -> None:
    logging.captureWarnings(True)  # a worker's warnings are nobody's, beside a result in JSON
    torch.set_num_threads(1)
    _loaded.append(load(attributor))


def _check_part(files: Sequence[Path]) -> list[ImageVerdict]:
    return check_files(_loaded[0], files)
