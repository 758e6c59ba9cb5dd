"""`check`: verdicts on images, files, folders or tables, by an attributor or its folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from torch import Tensor

from wherefrom.attribution.checking.cache import Answers
from wherefrom.attribution.checking.discovery import control_discoveries
from wherefrom.attribution.checking.paths import check_paths
from wherefrom.attribution.checking.processes import check_in_processes
from wherefrom.attribution.fitted import Attributor, load
from wherefrom.attribution.result import CheckResult
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.folders import list_images

Place = Path | str


def check(
    attributor: Attributor | Place,
    samples: Tensor | Place | Sequence[Place],
    *,
    processes: int = 1,
    answers: Place | None = None,
    false_discovery_rate: float | None = None,
    track: Track = quiet,
) -> CheckResult:
    """Say of every image, or row of numbers, whether the attributor's model made it.

    `attributor` is a fitted one or the folder of one; one that needs its generator is loaded first
    (`load`).  `samples` are a tensor, as `Attributor.check` takes it, or files and folders.  A file
    that cannot be judged gets "cannot say" and the reason.

    `processes` divide the files among them (spawned: a script needs the guard
    `if __name__ == "__main__"`), for which `attributor` must be a folder.  `answers` is an SQLite
    file, made if it is missing, that stores verdicts by digest: what it holds is not judged again.
    `false_discovery_rate` judges all samples together (`control_discoveries`).
    """
    fitted = attributor if isinstance(attributor, Attributor) else load(attributor)
    if processes < 1:
        raise InputError(f"{processes} processes; give at least 1")
    if processes > 1 and isinstance(attributor, Attributor):
        raise InputError("several processes each load the attributor; give its folder instead")
    if isinstance(samples, Tensor):
        if answers is not None or processes > 1:
            raise InputError("answers and processes are for files, and these samples are a tensor")
        result = fitted.check(samples, track=track)
    else:
        if answers is not None and fitted.judges_numbers:
            raise InputError("answers are stored of images, and this attributor judges rows")
        paths = [Path(p) for p in ([samples] if isinstance(samples, Path | str) else samples)]
        with nullcontext() if answers is None else Answers(Path(answers), fitted) as known:
            if isinstance(attributor, Attributor) or processes == 1 or fitted.judges_numbers:
                result = check_paths(fitted, paths, answers=known, track=track)
            else:
                rows = check_in_processes(
                    Path(attributor),
                    list_images(paths),
                    processes=processes,
                    answers=known,
                    track=track,
                )
                result = fitted.result(rows)
    if false_discovery_rate is not None:
        result = control_discoveries(result, false_discovery_rate)
    return result
