"""The executor for many machines: Ray actors make the runs of the ledger.

Only this process writes the ledger.  Ray retries nothing, because the ledger does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wherefrom.core.compute.cluster import ray_cluster, require_room, start_actor
from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.ledger.ledger import LEASE_SECONDS, Ledger
from wherefrom.credit.ledger.records import GameIdentity, Lease, Outcome
from wherefrom.credit.ledger.worker import MakePlay, machine_fault, play_once

POLL_SECONDS = 0.2


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
