"""The worker processes of one service: each claims a job of the history and does it.

A `Worker` is one process, which can be killed and started again; a `Crew` are several of them on
one history; a `Bell` tells the tasks of the service that something changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wherefrom.core.errors import InputError
from wherefrom.web.jobs.history import MAX_ATTEMPTS, UPLOAD, Job, JobHistory, JobState
from wherefrom.web.settings import ServiceConfig

SECONDS = (0.5, 1, 2, 5, 10, 20, 60, 300)


class Metrics:
    """Counters of this process, and gauges that are read from the history when asked for."""

    def __init__(self, history: JobHistory) -> None:
        self.registry = CollectorRegistry()
        self._ended = Counter(
            "wherefrom_jobs_ended", "Jobs that ended", ["state"], registry=self.registry
        )
        self.refused = Counter(
            "wherefrom_uploads_refused", "Uploads refused", ["status"], registry=self.registry
        )
        self.deaths = Counter(
            "wherefrom_worker_deaths", "Worker processes that died", registry=self.registry
        )
        self.seconds = Histogram(
            "wherefrom_job_seconds", "Seconds of a job", buckets=SECONDS, registry=self.registry
        )
        self.registry.register(_Queue(history))

    def ended(self, state: JobState) -> None:
        """Count a job that ended."""
        self._ended.labels(state=str(state)).inc()

    def render(self) -> bytes:
        """The text that /metrics gives."""
        return generate_latest(self.registry)


class _Queue(Collector):
    """How many jobs are in each state."""

    def __init__(self, history: JobHistory) -> None:
        self._history = history

    def collect(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily("wherefrom_jobs", "Jobs in the history", labels=["state"])
        with suppress(InputError):  # without the history only the counters are given
            for state, count in self._history.counts().items():
                jobs.add_metric([state], count)
        yield jobs


LINE_BYTES = 4 * 2**20
START_SECONDS = 600.0
Step = Callable[[dict[str, Any]], Awaitable[None]]
# Not passed on to the process that opens uploaded files.
SECRETS = ("WHEREFROM_TOKEN", "WHEREFROM_HISTORY", "PGPASSWORD")
LOG = logging.getLogger(__name__)
HEARTBEAT = 15.0
POLL_SECONDS = 1.0  # how soon changes by other services are seen
RETRY_SECONDS = 5.0  # after which a full disk, or a database that is away, is tried again

P = ParamSpec("P")
R = TypeVar("R")


class Bell:
    """Counts notifications.  Read `rings` before the state, so that no change is missed."""

    def __init__(self) -> None:
        self.rings = 0
        self._rung = asyncio.Condition()

    async def ring(self) -> None:
        """Wake every waiting task."""
        async with self._rung:
            self.rings += 1
            self._rung.notify_all()

    async def wait(self, seen: int, seconds: float) -> None:
        """Until it rang more than `seen` times, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._rung:
                await self._rung.wait_for(lambda: self.rings > seen)


class WorkerDiedError(Exception):
    """The process ended in the middle of a job."""


class Worker:
    """A process that runs `web.jobs.worker`.  It does one job at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._process: Process | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and wait until its case is open; an `InputError` if it refuses the case."""
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES, env=environment
        )
        try:
            message = await asyncio.wait_for(self._line(), START_SECONDS)
        except (WorkerDiedError, TimeoutError) as error:
            await self.kill()
            raise InputError("the worker process did not start; its output says why") from error
        if "refused" in message:
            await self.kill()
            raise InputError(str(message["refused"]))

    async def ask(self, job: dict[str, str], step: Step) -> dict[str, Any]:
        """Do one job; its outcome (`finished` or `error`), or a `WorkerDiedError`."""
        process = self._process
        if process is None or process.stdin is None:
            raise WorkerDiedError
        try:
            process.stdin.write((json.dumps(job) + "\n").encode())
            await process.stdin.drain()
        except ConnectionError as error:
            raise WorkerDiedError from error
        while True:
            message = await self._line()
            if "finished" in message or "error" in message:
                return message
            await step(message)

    async def kill(self) -> None:
        """End the process now, even in the middle of a job."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _line(self) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerDiedError
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise WorkerDiedError(f"signal {-code}" if code < 0 else f"exit code {code}")
        message: dict[str, Any] = json.loads(line)
        return message


@dataclass
class Slot:
    """One worker process, and the job that it is working on."""

    worker: Worker
    claim: str = ""
    job: Job | None = None


class Crew:
    """Several workers on one history.  Use it from its event loop."""

    def __init__(
        self,
        history: JobHistory,
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
        loops = [self._renew(), *(self._work(slot) for slot in self._slots)]
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
                    await self._history.in_thread(self._history.release, slot.claim, blameless=True)

    @property
    def healthy(self) -> bool:
        """Whether jobs are worked on and the history answers."""
        working = bool(self._tasks) and not any(task.done() for task in self._tasks)
        return working and not self._failing

    async def kill(self, job: str) -> None:
        """Kill the worker of this job, if it belongs to this service."""
        for slot in self._slots:
            if slot.job is not None and slot.job.id == job:
                await slot.worker.kill()

    def pause(self) -> float:
        """Seconds to wait for a notification: other services send none."""
        return POLL_SECONDS if self._history.shared else HEARTBEAT

    async def _renew(self) -> None:
        """Renew leases of running jobs, stop jobs whose claim is lost, recover those of the dead.

        After a time without the history nothing is recovered until a lease has passed, because
        other services may have been without it, too.
        """
        lease, steady = self._config.lease_seconds, time.monotonic()
        while True:
            held = {slot.claim: slot for slot in self._slots if slot.job is not None}
            try:
                holding = await self._history.in_thread(self._history.renew, list(held), lease)
                if time.monotonic() - steady > lease and await self._recover():
                    await self._bell.ring()
                self._note(self)
            except InputError as error:
                self._note(self, error)
                steady = time.monotonic()
            else:
                for claim in held.keys() - holding:
                    if held[claim].claim == claim and held[claim].job is not None:
                        await held[claim].worker.kill()  # cancelled, or taken back from us
            await asyncio.sleep(min(POLL_SECONDS, lease / 3))

    async def _recover(self) -> int:
        return await self._history.in_thread(self._history.recover)

    async def _insist(
        self, slot: Slot, call: Callable[P, R], *args: P.args, **given: P.kwargs
    ) -> R:
        """The history's answer, tried again for as long as it is away or its disk is full."""
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
        """Record whether the history answered this task; a change is logged."""
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
            job = await self._insist(slot, self._history.claim_next, slot.claim, lease)
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
        async def step(message: dict[str, Any]) -> None:
            with suppress(InputError):  # the step is not worth waiting for
                await self._history.in_thread(self._history.record_step, slot.claim, message)
            await self._bell.ring()

        folder, worker = self._history.place(job.id), slot.worker
        asked = {"path": str(folder / UPLOAD), "name": job.name, "out": str(folder)}
        try:
            if not worker.alive:
                await worker.start()
            async with asyncio.timeout(self._config.job_seconds):
                outcome = await worker.ask(asked, step)
        except TimeoutError:
            await worker.kill()
            seconds = self._config.job_seconds
            await self._end(slot, JobState.FAILED, f"it took longer than {seconds:g} seconds")
        except InputError as error:
            LOG.warning("the case can no longer be opened: %s", error)  # it names paths
            why = "the case can no longer be opened; the log of the service says why"
            await self._end(slot, JobState.FAILED, why)
        except WorkerDiedError as death:
            await worker.kill()
            await self._bury(slot, job, str(death))
        else:
            if "error" in outcome:
                await self._end(slot, JobState.FAILED, str(outcome["error"]))
            else:
                await self._end(slot, JobState.DONE, summary=outcome["finished"])

    async def _bury(self, slot: Slot, job: Job, why: str) -> None:
        """The worker died, of this file or because it was killed; the job is tried a few times."""
        if job.attempts >= MAX_ATTEMPTS:
            error = f"the process that inspected it died ({why})"
            blamed = await self._end(slot, JobState.FAILED, error)
        else:
            release = self._history.release
            blamed = await self._insist(slot, release, slot.claim, blameless=False)
        if blamed:  # else it was killed because the claim was lost
            self._metrics.deaths.inc()

    async def _end(
        self, slot: Slot, state: JobState, error: str = "", summary: Sequence[Any] = ()
    ) -> bool:
        finish = self._history.finish
        ended = await self._insist(slot, finish, slot.claim, state, error=error, summary=summary)
        if ended:
            self._metrics.ended(state)
        return ended
