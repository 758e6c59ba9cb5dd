"""A large folder checked by several processes, each with one thread: the same answers, sooner.

The inversion of an image is many small products, which gain little from threads; processes divide
the images among themselves instead.
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
from wherefrom.attribution.checking.paths import check_files, check_in_parts
from wherefrom.attribution.fitted import Attributor, load
from wherefrom.attribution.result import ImageVerdict
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet

_loaded: list[Attributor] = []  # of a worker process: its one attributor


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
