"""The process that opens uploaded files: it may crash on one, and can be killed at any time.

    python -m wherefrom.web.jobs.worker CASE SETTINGS

SETTINGS is a JSON object: device, heat, max_bytes, max_pixels, memory_gib, threads (0: as many as
torch takes).  A job is one line of JSON on stdin (path, name, out); each step and the outcome are
one line on stdout.  When stdin ends, the process ends at once: the service is gone then.
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

from wherefrom.core.saving.json_text import to_json

T = TypeVar("T")
Send = Callable[..., None]


def main() -> None:
    """Open the case, report that it is open, and work until stdin ends."""
    send = _sender()
    case, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    _limit_memory(settings["memory_gib"])
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    import torch

    from wherefrom.case.parts.opened import open_case
    from wherefrom.core.errors import WherefromError

    torch.set_num_threads(settings["threads"])
    try:
        opened = open_case(case, device=settings["device"])
    except WherefromError as error:
        send(refused=str(error))
        sys.exit(2)
    send(ready=True)
    with opened:
        while True:
            _work(jobs.get(), opened, settings, send)


def _work(job: dict[str, Any], opened: Any, settings: dict[str, Any], send: Send) -> None:
    from wherefrom.case.method import inspect_image
    from wherefrom.core.errors import WherefromError
    from wherefrom.core.limits import Limits
    from wherefrom.report.case.page import draw, write_inspection, write_pictures
    from wherefrom.report.case.places import Places

    path, limits = Path(job["path"]), Limits(settings["max_bytes"], settings["max_pixels"])
    places = Places(opened.case)
    try:
        inspection = inspect_image(
            path,
            opened,
            name=job["name"],
            pictures=True,
            heat=settings["heat"],
            limits=limits,
            track=_Steps(send),
        )
        send(step="report", done=0, total=1)
        places.add(inspection, path)
        drawn = draw(inspection)
        out = Path(job["out"])
        write_pictures(out, inspection, path, drawn, places.hide)
        write_inspection(out, inspection, path, show=places.hide, drawn=drawn)
    except WherefromError as error:
        # The upload is stored under another name than the one its owner knows.
        send(error=places.hide(str(error).replace(str(path), job["name"])))
        return
    except MemoryError:
        send(error=f"{job['name']}: it needs more memory than the service allows")
        return
    rows = json.loads(places.hide(to_json(inspection.to_dict()["answers"], ensure_ascii=False)))
    keys = ("question", "asked", "state", "sentence", "error_rate", "error_of")
    send(finished=[{key: row[key] for key in keys} for row in rows])


class _Steps:
    """Progress as messages for the service: the question being asked, and no other stage.

    Unlike `cli.console.progress` it sends every question at once, however short, for the page that
    shows it.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        from wherefrom.case.method import ASKING

        for done, item in enumerate(items):
            if label == ASKING:
                self._send(step=str(item), done=done, total=total)
            yield item


def _sender() -> Send:
    """A function that writes a line of JSON to stdout, to which nothing else may write from now."""
    stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def send(**message: Any) -> None:
        stream.write(to_json(message, indent=None) + "\n")
        stream.flush()

    return send


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _limit_memory(memory_gib: float) -> None:
    """Forbid core dumps, and limit the data of this process; 0: no limit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_gib:
        limit = int(memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
