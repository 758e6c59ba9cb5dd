"""The process that opens strangers' files: it may die, and is killed at will.

    python -m wherefrom.web.worker CASE SETTINGS

SETTINGS is a JSON object: device, heat, max_bytes, max_pixels, memory_gib, threads (0: as many as
torch takes).  A job is one line of JSON on stdin (path, name, out), what happens to it one line
each on stdout.  When stdin ends, the process does too, in the middle of a job if need be: the
service is gone then.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

from wherefrom.core.json_text import to_json

T = TypeVar("T")
Tell = Callable[..., None]


def main() -> None:
    """Open the case, say so, and work until stdin ends."""
    tell = _teller()
    case, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    _bound(settings["memory_gib"])
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    import torch

    from wherefrom.case.opened import open_case
    from wherefrom.core.errors import WherefromError

    torch.set_num_threads(settings["threads"])
    try:
        opened = open_case(case, device=settings["device"])
    except WherefromError as error:
        tell(refused=str(error))
        sys.exit(2)
    tell(ready=True)
    with opened:
        while True:
            _work(jobs.get(), opened, settings, tell)


def _work(job: dict[str, Any], opened: Any, settings: dict[str, Any], tell: Tell) -> None:
    from wherefrom.case.method import inspect_image
    from wherefrom.core.errors import WherefromError
    from wherefrom.core.limits import Limits
    from wherefrom.report.case.page import write_inspection

    path, limits = Path(job["path"]), Limits(settings["max_bytes"], settings["max_pixels"])
    try:
        found = inspect_image(
            path,
            opened,
            name=job["name"],
            pictures=True,
            heat=settings["heat"],
            limits=limits,
            track=_Steps(tell),
        )
        tell(step="report", done=0, total=1)
        write_inspection(Path(job["out"]), found, path)
    except WherefromError as error:
        # The upload has a name of ours; the person knows it by theirs.
        tell(error=str(error).replace(str(path), job["name"]))
        return
    except MemoryError:
        tell(error=f"{job['name']}: it needs more memory than the service allows")
        return
    rows = found.to_dict()["answers"]
    told = ("question", "asked", "state", "sentence", "error_rate", "error_of")
    tell(finished=[{key: row[key] for key in told} for row in rows])


class _Steps:
    """The questions of the case as messages for the service; no other stage is told.

    Not what `cli.progress` decides: stdout is no terminal and no log here, and the page that polls
    the service wants the present question at once, however short.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        """`core.progress.Track`."""
        from wherefrom.case.method import ASKING

        for done, item in enumerate(items):
            if label == ASKING:
                self._tell(step=str(item), done=done, total=total)
            yield item


def _teller() -> Tell:
    """Lines on the real stdout, which nothing else may write to from here on."""
    stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def tell(**message: Any) -> None:
        stream.write(to_json(message, indent=None) + "\n")
        stream.flush()

    return tell


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _bound(memory_gib: float) -> None:
    """No core dumps, and no more data than allowed."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_gib:
        most = int(memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    main()
