"""The loop of one worker: claim a run, make it, record it, until none waits.

Worker processes show no progress: the process that started them counts the finished runs.

An error of a run is recorded with the run.  An error of the machine (a full disk, an interruption)
releases the run and ends the worker.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.ledger.game import Bools, GameIdentity, Lease, Outcome, members_of
from wherefrom.credit.ledger.ledger import LEASE_SECONDS, Ledger

MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


class Play(Protocol):
    """The game, loaded in a worker: makes the run of one subset."""

    def __call__(self, members: Bools, seed: int) -> Outcome:
        """The outcome for the contributors `members`, bool (n,); any exception fails the run."""
        ...


MakePlay = Callable[[str], Play]  # called once in each worker, with the name of its device


def work(
    ledger: Ledger,
    play: Play,
    *,
    lease_seconds: float = LEASE_SECONDS,
    go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Make runs of the ledger while some wait and `go_on()` holds; how many were made."""
    count = 0
    while go_on() and make_next(ledger, play, lease_seconds=lease_seconds):
        count += 1
    return count


def make_next(ledger: Ledger, play: Play, *, lease_seconds: float = LEASE_SECONDS) -> bool:
    """Claim a run, make it and record it; False if none waits."""
    lease = ledger.claim_next(seconds=lease_seconds)
    if lease is None:
        return False
    with _renewed(ledger, lease, lease_seconds):
        try:
            result = play_once(play, lease.mask, lease.seed, ledger.game)
        except BaseException:
            ledger.release(lease)
            raise
    if isinstance(result, Outcome):
        ledger.finish(lease, result)
    else:
        ledger.fail(lease, result)
    return True


def run_here(ledger: Ledger, play: Play, *, track: Track = quiet) -> None:
    """Make every planned run in this process; a worker elsewhere may make some of them."""
    ledger.recover()
    waiting = ledger.counts()["planned"]
    for _ in track(range(waiting), "making runs", total=waiting):
        if not make_next(ledger, play):
            return


def play_once(play: Play, mask: int, seed: int, game: GameIdentity) -> Outcome | str:
    """The outcome of a run, or what went wrong in it; a fault of the machine is raised."""
    try:
        return play(members_of(mask, game.players), seed)
    except Exception as error:
        fault = machine_fault(error)
        if fault is not None:
            raise fault from error
        return describe(error)


def describe(error: BaseException) -> str:
    """One line: a user's error as it is, any other with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, WherefromError) else f"{type(error).__name__}: {text}"


def machine_fault(error: BaseException | None) -> InputError | None:
    """An `InputError` if the error, or a cause of it, is one of the machine and not of the run."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
            return InputError(
                f"the machine cannot continue: {error.strerror}; every finished run is kept; free "
                "the disk or the files, and start again"
            )
        error = error.__cause__
    return None


def work_in_process(
    path: Path,
    game: GameIdentity,
    make_play: MakePlay,
    device: str,
    *,
    lease_seconds: float = LEASE_SECONDS,
    parent: int | None = None,
) -> None:
    """Open ledger and game, and work; when the process `parent` has ended, stop after a run."""
    if parent is not None:
        logging.captureWarnings(True)  # else libraries print them beside a result in JSON
    with Ledger(path, game, fold=False) as ledger:
        alive = (lambda: True) if parent is None else (lambda: os.getppid() == parent)
        work(ledger, make_play(device), lease_seconds=lease_seconds, go_on=alive)


@contextmanager
def _renewed(ledger: Ledger, lease: Lease, seconds: float) -> Iterator[None]:
    """Renew the lease from a thread with a connection of its own, every third of its time."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(seconds / 3):
            with Ledger(ledger.path, ledger.game, fold=False) as own:
                if not own.renew(lease, seconds=seconds):
                    return

    thread = threading.Thread(target=renew, name="wherefrom-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
