"""The worker processes of one service: they claim jobs of the history, one each, and do them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from wherefrom.core.errors import InputError
from wherefrom.web.bell import Bell
from wherefrom.web.history import MOST_ATTEMPTS, UPLOAD, History
from wherefrom.web.jobs import Job, JobState
from wherefrom.web.metrics import Metrics
from wherefrom.web.runner import Worker, WorkerDied
from wherefrom.web.settings import ServiceConfig

LOG = logging.getLogger(__name__)
HEARTBEAT = 15.0
POLL_SECONDS = 1.0  # how soon what other services did is seen
RETRY_SECONDS = 5.0  # after which a full disk, or a database that is away, is tried again

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Slot:
    """One worker process, and the job that it is at."""

    worker: Worker
    claim: str = ""
    job: Job | None = None


class Crew:
    """Several workers on one history.  Use it from its event loop."""

    def __init__(
        self,
        history: History,
        command: Sequence[str],
        config: ServiceConfig,
        metrics: Metrics,
        bell: Bell,
    ) -> None:
        self._history, self._config, self._metrics, self._bell = history, config, metrics, bell
        self._slots = [Slot(Worker(command)) for _ in range(config.workers)]
        self._failing: set[int] = set()  # tasks that the history does not answer
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the case in every worker and begin; an `InputError` if one refuses it."""
        opened = [slot.worker.start() for slot in self._slots]
        for outcome in await asyncio.gather(*opened, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        loops = [self._keep(), *(self._work(slot) for slot in self._slots)]
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """Stop working; jobs that run wait again, for any service."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in self._slots:
            await slot.worker.kill()
            if slot.claim:
                with suppress(InputError):  # then it waits again once its lease has ended
                    await self._history.in_thread(self._history.requeue, slot.claim, blameless=True)

    @property
    def healthy(self) -> bool:
        """Whether jobs are worked on and the history answers."""
        working = bool(self._tasks) and not any(task.done() for task in self._tasks)
        return working and not self._failing

    async def drop(self, job: str) -> None:
        """Kill the worker that is at this job, if it is one of ours."""
        for slot in self._slots:
            if slot.job is not None and slot.job.id == job:
                await slot.worker.kill()

    def pause(self) -> float:
        """How long to wait for a ring of the bell: others do not ring it."""
        return POLL_SECONDS if self._history.shared else HEARTBEAT

    async def _keep(self) -> None:
        """Renew what is held, let go of what is lost, take back what others left behind.

        Who did not reach the history for a while cannot tell whether others did, so nothing is
        taken back until a lease has passed since.
        """
        lease, steady = self._config.lease_seconds, time.monotonic()
        while True:
            held = {slot.claim: slot for slot in self._slots if slot.job is not None}
            try:
                kept = await self._history.in_thread(self._history.renew, list(held), lease)
                if time.monotonic() - steady > lease and await self._recover():
                    await self._bell.ring()
                self._note(self)
            except InputError as error:
                self._note(self, error)
                steady = time.monotonic()
            else:
                for claim in held.keys() - kept:
                    if held[claim].claim == claim and held[claim].job is not None:
                        await held[claim].worker.kill()  # cancelled, or taken back from us
            await asyncio.sleep(min(POLL_SECONDS, lease / 3))

    async def _recover(self) -> int:
        return await self._history.in_thread(self._history.recover)

    async def _insist(
        self, slot: Slot, call: Callable[P, R], *args: P.args, **given: P.kwargs
    ) -> R:
        """What the history answers, however long it is away or its disk is full."""
        while True:
            try:
                answer = await self._history.in_thread(call, *args, **given)
            except InputError as error:
                self._note(slot, error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._note(slot)
                return answer

    def _note(self, task: object, error: InputError | None = None) -> None:
        """Whether the history answered this task; the operator is told when that changes."""
        before = bool(self._failing)
        if error is None:
            self._failing.discard(id(task))
        else:
            self._failing.add(id(task))
        if before != bool(self._failing):
            LOG.warning("%s", error or "the history answers again")

    async def _work(self, slot: Slot) -> None:
        while True:
            seen, slot.claim = self._bell.rings, self._history.new_claim()
            lease = self._config.lease_seconds
            job = await self._insist(slot, self._history.start_next, slot.claim, lease)
            if job is None:
                slot.claim = ""
                await self._bell.wait(seen, self.pause())
                continue
            slot.job = job
            await self._bell.ring()
            start = time.monotonic()
            await self._do(slot, job)
            self._metrics.seconds.observe(time.monotonic() - start)
            slot.job, slot.claim = None, ""
            await self._bell.ring()

    async def _do(self, slot: Slot, job: Job) -> None:
        async def step(told: dict[str, Any]) -> None:
            with suppress(InputError):  # the step is not worth waiting for
                await self._history.in_thread(self._history.tell_step, slot.claim, told)
            await self._bell.ring()

        folder, worker = self._history.place(job.id), slot.worker
        asked = {"path": str(folder / UPLOAD), "name": job.name, "out": str(folder)}
        try:
            if not worker.alive:
                await worker.start()
            async with asyncio.timeout(self._config.job_seconds):
                told = await worker.ask(asked, step)
        except TimeoutError:
            await worker.kill()
            seconds = self._config.job_seconds
            await self._end(slot, JobState.FAILED, f"it took longer than {seconds:g} seconds")
        except InputError as error:
            why = f"the case cannot be opened any more: {error}"
            await self._end(slot, JobState.FAILED, why)
        except WorkerDied as death:
            await worker.kill()
            await self._bury(slot, job, str(death))
        else:
            if "error" in told:
                await self._end(slot, JobState.FAILED, str(told["error"]))
            else:
                await self._end(slot, JobState.DONE, summary=told["finished"])

    async def _bury(self, slot: Slot, job: Job, why: str) -> None:
        """The worker died: by our own hand, or of this file, which is tried again a little."""
        if job.attempts >= MOST_ATTEMPTS:
            told = f"the process that looked at it died ({why})"
            blamed = await self._end(slot, JobState.FAILED, told)
        else:
            again = self._history.requeue
            blamed = await self._insist(slot, again, slot.claim, blameless=False)
        if blamed:  # we kill it for jobs that are not ours any more
            self._metrics.deaths.inc()

    async def _end(
        self, slot: Slot, state: JobState, error: str = "", summary: Sequence[Any] = ()
    ) -> bool:
        finish = self._history.finish
        ended = await self._insist(slot, finish, slot.claim, state, error=error, summary=summary)
        if ended:
            self._metrics.ended(state)
        return ended
