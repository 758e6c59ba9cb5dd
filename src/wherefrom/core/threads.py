"""How many threads a command works with: what it is told, else what the machine has free.

Nothing here imports torch, so that a command can decide before torch is loaded.
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
LOOKS, PAUSE = 5, 0.004  # at what runs now, and the seconds between them
STATE = Path("/proc/stat")


def free_threads() -> int:
    """Cores that nothing else uses right now, at least 1."""
    return max(1, usable_cores() - busy_threads())


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_threads() -> int:
    """Threads of this machine that run now, this one apart.

    The median of a few looks at Linux's count; elsewhere the average of the last minute.
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
    """Torch, and the processes started inside, use `count` threads; None: what is free.

    None leaves a choice alone that the environment already makes (`OMP_NUM_THREADS`).
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
    """What `OMP_NUM_THREADS` says, all usable cores where it says no whole number."""
    stated = os.environ.get(VARIABLE, "")
    return max(1, int(stated)) if stated.isdecimal() else usable_cores()


def threads_per_process(processes: int) -> int:
    """The share of each of several processes that work at once, at least 1."""
    return max(1, stated_threads() // processes)
