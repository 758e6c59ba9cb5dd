"""The executor for many machines: Ray carries runs to actors and results back to the ledger.

Only this process writes the ledger.  Ray retries nothing, because the ledger does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wherefrom.core.cluster import ray_cluster, require_room, start_actor
from wherefrom.core.errors import InputError, WherefromError
from wherefrom.core.progress import Track, quiet
from wherefrom.credit.ledger.ledger import LEASE_SECONDS, Ledger
from wherefrom.credit.ledger.records import GameIdentity, Lease, Outcome
from wherefrom.credit.running.worker import MakePlay, machine_fault, play_once

POLL_SECONDS = 0.2


def run_ray(
    ledger: Ledger,
    make_play: MakePlay,
    *,
    devices: tuple[str, ...] = ("cpu",),
    lease_seconds: float = LEASE_SECONDS,
    track: Track = quiet,
    address: str | None = None,
    gpus: float = 1.0,
) -> None:
    """`executors.run_local` on a Ray cluster: one actor for each entry of `devices`.

    `address` and `gpus` as in `core.cluster`.  `MissingExtraError` without ray.
    """
    if not devices:
        raise InputError("no device is given to run on; give at least one, as in cpu")
    with ray_cluster("the executor ray", address=address) as ray:
        require_room(ray, devices, gpus=gpus)
        ledger.reclaim()
        hands = _Hands(ray, ledger, make_play, lease_seconds, gpus)
        try:
            for _ in track(hands.settled(devices), "making runs", total=_left(ledger)):
                pass
        finally:
            hands.stop()


class Hand:
    """What lives in an actor: the game, loaded once."""

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
class _Task:
    lease: Lease
    device: str
    hand: Any


class _Hands:
    """The actors of one driver."""

    def __init__(
        self, ray: Any, ledger: Ledger, make_play: MakePlay, lease_seconds: float, gpus: float
    ) -> None:
        self.ray, self.ledger, self.make_play = ray, ledger, make_play
        self.lease_seconds, self.gpus = lease_seconds, gpus
        self.idle: list[tuple[str, Any]] = []
        self.busy: dict[Any, _Task] = {}

    def settled(self, devices: tuple[str, ...]) -> Iterator[None]:
        """Work, and yield once for each run that is done or failed."""
        left = _left(self.ledger)
        self.idle = [(device, self._new(device)) for device in devices[:left]]
        renewed = time.monotonic()
        while left:
            self._hand_out()
            self._collect()
            if time.monotonic() - renewed > self.lease_seconds / 3:
                renewed = time.monotonic()
                for task in self.busy.values():
                    self.ledger.renew(task.lease, seconds=self.lease_seconds)
            now = _left(self.ledger)
            yield from (None for _ in range(left - now))
            left = now

    def stop(self) -> None:
        """Give back what is under way, and end every actor."""
        for task in self.busy.values():
            self.ledger.release(task.lease)
        for hand in [hand for _, hand in self.idle] + [task.hand for task in self.busy.values()]:
            self.ray.kill(hand)

    def _new(self, device: str) -> Any:
        hand = start_actor(self.ray, Hand, device, self.make_play, self.ledger.game, gpus=self.gpus)
        try:
            problem = self.ray.get(hand.ready.remote())
        except self.ray.exceptions.RayError as error:
            raise RuntimeError(f"a worker failed:\n{error}") from error
        if problem:
            raise InputError(problem)
        return hand

    def _hand_out(self) -> None:
        while self.idle:
            lease = self.ledger.lease(seconds=self.lease_seconds)
            if lease is None:
                return
            device, hand = self.idle.pop()
            self.busy[hand.run.remote(lease.mask, lease.seed)] = _Task(lease, device, hand)

    def _collect(self) -> None:
        if not self.busy:  # somebody else holds the last runs
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=POLL_SECONDS)
        for reference in ready:
            task = self.busy.pop(reference)
            try:
                result = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as error:  # a fault of that machine
                self.ledger.release(task.lease)
                fault = machine_fault(error.cause)
                raise fault or RuntimeError(f"a worker failed:\n{error}") from error
            except self.ray.exceptions.RayError:  # the actor is gone
                self.ledger.lost(task.lease)
                self.idle.append((task.device, self._new(task.device)))
                continue
            self.idle.append((task.device, task.hand))
            if isinstance(result, Outcome):
                self.ledger.finish(task.lease, result)
            else:
                self.ledger.fail(task.lease, result)


def _left(ledger: Ledger) -> int:
    counts = ledger.counts()
    return counts["planned"] + counts["leased"]
