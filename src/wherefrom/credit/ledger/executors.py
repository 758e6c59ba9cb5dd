"""Executors: processes of this machine make the runs, or with the extra `ray` those of a cluster.

Both claim runs from the ledger, and behave the same.  A run that is done is never made again.  When
a worker dies, its run is planned again; the third time the run has failed.  An error of the machine
stops all workers, and every finished run stays.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from wherefrom.core.compute.cluster import ray_cluster, require_room, start_actor
from wherefrom.core.compute.threads import threads_per_process, using_threads
from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.ledger.game import GameIdentity, Lease, Outcome
from wherefrom.credit.ledger.ledger import LEASE_SECONDS, MAX_ATTEMPTS, Ledger
from wherefrom.credit.ledger.worker import MakePlay, machine_fault, play_once, work_in_process

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 10.0  # in which a worker may release its run when all of them are stopped


def run_ray(
    ledger: Ledger,
    make_play: MakePlay,
    *,
    devices: tuple[str, ...] = ("cpu",),
    lease_seconds: float = LEASE_SECONDS,
    track: Track = quiet,
) -> None:
    """Make every planned run on a Ray cluster, with one actor for each entry of `devices`.

    The cluster is that of RAY_ADDRESS, or one of this machine.  `MissingExtraError` without ray.
    """
    if not devices:
        raise InputError("no device is given to run on; give at least one, as in cpu")
    with ray_cluster("the executor ray") as ray:
        require_room(ray, devices)
        ledger.recover()
        actors = _RayRuns(ray, ledger, make_play, lease_seconds)
        try:
            for _ in track(actors.settled(devices), "making runs", total=ledger.open_runs()):
                pass
        finally:
            actors.stop()


class RunActor:
    """An actor: the game, loaded once, and the runs it makes."""

    def __init__(self, device: str, make_play: MakePlay, game: GameIdentity) -> None:
        self.game, self.problem = game, ""
        try:
            self.play = make_play(device)
        except WherefromError as error:
            self.problem = str(error)
        # Any other exception ends the actor, with its traceback.

    def ready(self) -> str:
        """Empty, or why the game cannot be loaded."""
        return self.problem

    def run(self, mask: int, seed: int) -> Outcome | str:
        """`worker.play_once`."""
        return play_once(self.play, mask, seed, self.game)


@dataclass
class _RunTask:
    lease: Lease
    device: str
    actor: Any


class _RayRuns:
    """The actors of one call."""

    def __init__(self, ray: Any, ledger: Ledger, make_play: MakePlay, lease_seconds: float) -> None:
        self.ray, self.ledger, self.make_play = ray, ledger, make_play
        self.lease_seconds = lease_seconds
        self.idle: list[tuple[str, Any]] = []
        self.busy: dict[Any, _RunTask] = {}

    def settled(self, devices: tuple[str, ...]) -> Iterator[None]:
        """Make runs, and yield once for each that is done or failed."""
        before = self.ledger.open_runs()
        self.idle = [(device, self._new(device)) for device in devices[:before]]
        renewed = time.monotonic()
        while before:
            self._assign()
            self._collect()
            if time.monotonic() - renewed > self.lease_seconds / 3:
                renewed = time.monotonic()
                for task in self.busy.values():
                    self.ledger.renew(task.lease, seconds=self.lease_seconds)
            now = self.ledger.open_runs()
            yield from (None for _ in range(before - now))
            before = now

    def stop(self) -> None:
        """Release the runs that are being made, and end every actor."""
        for task in self.busy.values():
            self.ledger.release(task.lease)
        for actor in [actor for _, actor in self.idle] + [
            task.actor for task in self.busy.values()
        ]:
            self.ray.kill(actor)

    def _new(self, device: str) -> Any:
        actor = start_actor(self.ray, RunActor, device, self.make_play, self.ledger.game)
        try:
            problem = self.ray.get(actor.ready.remote())
        except self.ray.exceptions.RayError as error:
            raise RuntimeError(f"a worker failed:\n{error}") from error
        if problem:
            raise InputError(problem)
        return actor

    def _assign(self) -> None:
        while self.idle:
            lease = self.ledger.claim_next(seconds=self.lease_seconds)
            if lease is None:
                return
            device, actor = self.idle.pop()
            self.busy[actor.run.remote(lease.mask, lease.seed)] = _RunTask(lease, device, actor)

    def _collect(self) -> None:
        if not self.busy:  # another process holds the last runs
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=POLL_SECONDS)
        for reference in ready:
            task = self.busy.pop(reference)
            try:
                result = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as error:  # an error of that machine
                self.ledger.release(task.lease)
                fault = machine_fault(error.cause)
                raise fault or RuntimeError(f"a worker failed:\n{error}") from error
            except self.ray.exceptions.RayError:  # the actor is gone
                self.ledger.lost(task.lease)
                self.idle.append((task.device, self._new(task.device)))
                continue
            self.idle.append((task.device, task.actor))
            if isinstance(result, Outcome):
                self.ledger.finish(task.lease, result)
            else:
                self.ledger.fail(task.lease, result)


def run_local(
    ledger: Ledger,
    make_play: MakePlay,
    *,
    devices: tuple[str, ...] = ("cpu",),
    lease_seconds: float = LEASE_SECONDS,
    track: Track = quiet,
) -> None:
    """Make every planned run in spawned processes, one for each entry of `devices`.

    `make_play` is pickled: a function of a module, or a `partial` of one.
    `InputError` if the game cannot be loaded in a worker, or for an error of the machine.  If this
    process is killed, each worker ends after its run.
    """
    if not devices:
        raise InputError("no device is given to run on; give at least one, as in cpu")
    ledger.recover()
    pool = _WorkerPool(ledger, make_play, devices, lease_seconds)
    try:
        for _ in track(pool.settled(), "making runs", total=ledger.open_runs()):
            pass
        pool.join()
    finally:
        pool.stop()


EXECUTORS: dict[str, Callable[..., None]] = {"local": run_local, "ray": run_ray}


@dataclass
class _Worker:
    process: BaseProcess
    report: Connection  # one message, if it ends with an error


class _WorkerPool:
    """The worker processes of one call, one place per device."""

    def __init__(
        self, ledger: Ledger, make_play: MakePlay, devices: tuple[str, ...], lease_seconds: float
    ) -> None:
        self.ledger, self.make_play = ledger, make_play
        self.devices, self.lease_seconds = devices, lease_seconds
        self.workers: dict[int, _Worker] = {}
        self.deaths = 0  # since the ledger last changed

    def settled(self) -> Iterator[None]:
        """Make runs, and yield once for each that is done or failed."""
        before = self.ledger.open_runs()
        while before:
            self._fill()
            self._watch()
            self.ledger.recover()
            now = self.ledger.open_runs()
            if now != before:
                self.deaths = 0
            yield from (None for _ in range(before - now))
            before = now

    def join(self) -> None:
        """Wait for workers that end because no run is planned."""
        end = time.monotonic() + PATIENCE_SECONDS
        for worker in self.workers.values():
            worker.process.join(max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        """Interrupt every worker, so that it releases its run, and end it."""
        for worker in self._alive():
            with suppress(ProcessLookupError):
                os.kill(worker.process.pid or 0, signal.SIGINT)
        self.join()
        for worker in self._alive():
            worker.process.kill()
            worker.process.join()

    def _alive(self) -> list[_Worker]:
        return [w for w in self.workers.values() if w.process.is_alive() and w.process.pid]

    def _fill(self) -> None:
        waiting = self.ledger.counts()["planned"]
        free = [place for place in range(len(self.devices)) if place not in self.workers]
        for place in free[:waiting]:
            self.workers[place] = self._start(self.devices[place])

    def _start(self, device: str) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        report, theirs = spawn.Pipe(duplex=False)
        arguments = (self.ledger.path, self.ledger.game, self.make_play, device)
        process = spawn.Process(
            target=_enter, args=(theirs, *arguments, self.lease_seconds, os.getpid()), daemon=True
        )
        with using_threads(threads_per_process(len(self.devices))):  # which they share
            process.start()
        theirs.close()
        return _Worker(process, report)

    def _watch(self) -> None:
        """Wait for `POLL_SECONDS` or until a worker ends, and remove those that ended."""
        wait([worker.process.sentinel for worker in self.workers.values()], timeout=POLL_SECONDS)
        if not self.workers:  # another process holds the last runs
            time.sleep(POLL_SECONDS)
        for place, worker in list(self.workers.items()):
            if not worker.process.is_alive():
                del self.workers[place]
                self._remove_dead(worker)

    def _remove_dead(self, worker: _Worker) -> None:
        worker.process.join()
        with suppress(EOFError):
            is_users, text = worker.report.recv()
            raise InputError(text) if is_users else RuntimeError(f"a worker failed:\n{text}")
        if worker.process.exitcode:
            self.deaths += 1
            if self.deaths > MAX_ATTEMPTS * (len(self.devices) + 1):
                raise InputError(
                    f"workers die before they record a run (exit code {worker.process.exitcode}); "
                    "use one device, and check that the memory suffices"
                )


def _enter(
    report: Connection,
    path: Path,
    game: GameIdentity,
    make_play: MakePlay,
    device: str,
    lease_seconds: float,
    parent: int,
) -> None:
    """The main function of a worker process."""
    try:
        work_in_process(path, game, make_play, device, lease_seconds=lease_seconds, parent=parent)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except WherefromError as error:
        report.send((True, str(error)))
        sys.exit(1)
    except Exception:
        report.send((False, traceback.format_exc()))
        sys.exit(1)
