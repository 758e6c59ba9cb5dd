"""The number of threads of a command: as stated, else as many as the machine has free.

Nothing here imports torch, so that a command can set the number before torch is loaded.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "OMP_NUM_THREADS"
LOOKS, PAUSE = 5, 0.004  # readings, and the seconds between them
STATE = Path("/proc/stat")


def free_threads() -> int:
    """The number of cores that no other process uses now, at least 1."""
    return max(1, usable_cores() - busy_threads())


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_threads() -> int:
    """The number of threads that run on this machine now, besides this one.

    On Linux the median of `LOOKS` readings of the system's count, elsewhere the load average of the
    last minute.
    """
    try:
        looks = []
        for _ in range(LOOKS):
            looks.append(_running())
            time.sleep(PAUSE)
        return max(0, int(statistics.median(looks)) - 1)
    except (OSError, ValueError):
        return round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0


def _running() -> int:
    for line in STATE.read_text().splitlines():
        if line.startswith("procs_running "):
            return int(line.split()[1])
    raise ValueError(f"{STATE} does not say how much runs")


@contextmanager
def using_threads(count: int | None) -> Iterator[int]:
    """Let torch, and processes started inside the block, use `count` threads.

    None: the number that `OMP_NUM_THREADS` states, else the number of free cores.
    """
    stated = os.environ.get(VARIABLE)
    if count is None and stated is not None:
        yield stated_threads()
        return
    chosen = free_threads() if count is None else count
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    os.environ[VARIABLE] = str(chosen)
    if torch is not None:
        torch.set_num_threads(chosen)
    try:
        yield chosen
    finally:
        if torch is not None:
            torch.set_num_threads(before)
        if stated is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = stated


def stated_threads() -> int:
    """The number in `OMP_NUM_THREADS`; the number of usable cores if it holds none."""
    stated = os.environ.get(VARIABLE, "")
    return max(1, int(stated)) if stated.isdecimal() else usable_cores()


def threads_per_process(processes: int) -> int:
    """The number of threads for each of several processes that work at once, at least 1."""
    return max(1, stated_threads() // processes)
