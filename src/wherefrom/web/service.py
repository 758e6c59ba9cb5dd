"""The service without its HTTP: accept, queue, run, follow, cancel, stop without losing a job."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.store import flush_folder
from wherefrom.web.history import MOST_ATTEMPTS, UPLOAD, History, Job, JobState
from wherefrom.web.metrics import Metrics
from wherefrom.web.runner import Worker, WorkerDied
from wherefrom.web.settings import ServiceConfig

HEARTBEAT = 15.0
NAME_LENGTH = 200
RETRY_SECONDS = 5.0  # after which a full disk is tried again


class Refused(Exception):  # noqa: N818 (an answer, no fault)
    """An upload that is not taken, with its HTTP status."""

    def __init__(self, status: int, reason: str, *, again: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.again = status, reason, again


class Service:
    """One queue, one worker.  Use it from its event loop."""

    def __init__(self, folder: Path, command: Sequence[str], config: ServiceConfig) -> None:
        self.config = config
        self.history = History(folder)
        self.metrics = Metrics(self.history)
        self.closing = False
        self._stuck = False  # the history cannot be written
        self.steps: dict[str, dict[str, Any]] = {}  # of running jobs
        self._worker = Worker(command)
        self._changed = asyncio.Condition()
        self._current: asyncio.Task[None] | None = None
        self._current_id = ""
        self._cancelled: set[str] = set()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Open the case and begin to work; how many jobs of an earlier run go on."""
        await self._worker.start()
        again = self.history.recover()
        self._loop = asyncio.create_task(self._work())
        return again

    async def stop(self) -> None:
        """Stop working; a running job waits again, and is done by the next service."""
        await self.close_doors()
        for task in (self._loop, self._current):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._worker.kill()
        with suppress(InputError):  # on a full disk the next start puts the job back
            self._put_back()
        self.history.close()

    async def close_doors(self) -> None:
        """Take no more jobs, and let go of those who follow one."""
        self.closing = True
        await self._announce()

    @property
    def healthy(self) -> bool:
        """Whether jobs are being worked on."""
        working = self._loop is not None and not self._loop.done()
        return working and not self.closing and not self._stuck

    def refuse_more(self) -> None:
        """`Refused` if nothing can be taken now.  Asked before a body is read, and after."""
        if self.closing:
            raise Refused(503, "the service is stopping; come back later", again=30)
        if self.history.waiting() >= self.config.queue:
            raise Refused(503, f"{self.config.queue} images wait already; come back", again=30)

    async def accept(self, name: str, body: AsyncIterator[bytes]) -> Job:
        """Take an upload: on the disk first, then in the history, then known to the client."""
        self.refuse_more()
        job = self.history.new_id()
        folder = self.history.place(job)
        try:
            folder.mkdir()
            size = await self._write(folder / UPLOAD, body)
            await asyncio.to_thread(_flush, folder)
            self.refuse_more()
            made = self.history.accept(job, shown_name(name), size)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _as_refusal(error) from error
        with suppress(InputError):  # it is accepted all the same; the next upload tries again
            self.history.forget_oldest(self.config.history)
        await self._announce()
        return made

    async def _write(self, path: Path, body: AsyncIterator[bytes]) -> int:
        size, most = 0, self.config.max_upload_mib * 2**20
        try:
            async with asyncio.timeout(self.config.upload_seconds):
                with path.open("xb") as file:
                    async for chunk in body:
                        size += len(chunk)
                        if size > most:
                            mib = self.config.max_upload_mib
                            raise Refused(413, f"the file is larger than {mib} MiB")
                        await asyncio.to_thread(file.write, chunk)
        except TimeoutError as error:
            raise Refused(408, "the upload took too long and was given up") from error
        if not size:
            raise Refused(400, "the file is empty; send the bytes of one image")
        return size

    async def cancel(self, job: str) -> Job:
        """Cancel a job that has not ended; the process that works on it is killed."""
        found = self.history.get(job)
        if found.state is JobState.QUEUED:
            self.history.finish(job, JobState.CANCELLED)
            self.metrics.ended(JobState.CANCELLED)
        elif found.state is JobState.RUNNING:
            self._cancelled.add(job)
            await self._worker.kill()
            while not self.history.get(job).ended:
                await self._wait()
        await self._announce()
        return self.history.get(job)

    async def follow(self, job: str) -> AsyncIterator[Job | None]:
        """The job now and after every change, until it ends; None where nothing happened."""
        seen: tuple[JobState, Any] | None = None
        while True:
            found = self.history.get(job)
            now = (found.state, dict(self.steps.get(job, {})))
            yield found if now != seen else None
            seen = now
            if found.ended or self.closing:
                return
            await self._wait()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT), self._changed:
                await self._changed.wait()

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _work(self) -> None:
        while True:
            try:
                self._put_back()
                job = self.history.start_next()
                self._stuck = False
                if job is None:
                    await self._wait()
                else:
                    await self._work_on(job)
            except InputError:  # the disk is full: what is open stays so until there is room
                self._stuck = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _work_on(self, job: Job) -> None:
        self._current_id = job.id
        await self._announce()
        try:
            await self._do(job)
        finally:
            self.steps.pop(job.id, None)
        self._current_id = ""
        await self._announce()

    def _put_back(self) -> None:
        """Let a job wait again whose end was not written down."""
        if self._current_id:
            self.history.requeue(self._current_id, blameless=True)
            self._current_id = ""

    async def _do(self, job: Job) -> None:
        folder = self.history.place(job.id)
        asked = {"path": str(folder / UPLOAD), "name": job.name, "out": str(folder)}
        start = time.monotonic()
        self._current = asyncio.create_task(self._ask(job, asked))
        try:
            await self._current
        finally:
            self._current = None
        self.metrics.seconds.observe(time.monotonic() - start)

    async def _ask(self, job: Job, asked: dict[str, str]) -> None:
        def step(told: dict[str, Any]) -> None:
            self.steps[job.id] = told
            self._soon = asyncio.get_running_loop().create_task(self._announce())

        try:
            if not self._worker.alive:
                await self._worker.start()
            async with asyncio.timeout(self.config.job_seconds):
                told = await self._worker.ask(asked, step)
        except TimeoutError:
            await self._worker.kill()
            seconds = self.config.job_seconds
            self._end(job, JobState.FAILED, f"it took longer than {seconds:g} seconds")
        except InputError as error:
            self._end(job, JobState.FAILED, f"the case cannot be opened any more: {error}")
        except WorkerDied as death:
            await self._worker.kill()
            self._bury(job, str(death))
        else:
            if "error" in told:
                self._end(job, JobState.FAILED, str(told["error"]))
            else:
                self._end(job, JobState.DONE, summary=told["finished"])

    def _bury(self, job: Job, why: str) -> None:
        """The worker died: by our own hand, or of this file, which is tried again a little."""
        if job.id in self._cancelled:
            self._end(job, JobState.CANCELLED)
            self._cancelled.discard(job.id)
        elif self.history.get(job.id).attempts < MOST_ATTEMPTS:
            self.metrics.deaths.inc()
            self.history.requeue(job.id, blameless=False)
        else:
            self.metrics.deaths.inc()
            self._end(job, JobState.FAILED, f"the process that looked at it died ({why})")

    def _end(self, job: Job, state: JobState, error: str = "", summary: Sequence[Any] = ()) -> None:
        self.history.finish(job.id, state, error=error, summary=summary)
        self.metrics.ended(state)


def shown_name(name: str) -> str:
    """What a file is called in reports: one printable line; it is never used as a path."""
    base = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(c if c.isprintable() else "_" for c in base).strip()[:NAME_LENGTH]
    return text or "image"


def _flush(folder: Path) -> None:
    """Wait until the upload is on the disk."""
    with (folder / UPLOAD).open("rb") as file:
        os.fsync(file.fileno())
    flush_folder(folder)
    flush_folder(folder.parent)


def _as_refusal(error: BaseException) -> BaseException:
    if isinstance(error, OSError):
        return Refused(507, f"the upload cannot be kept: {error.strerror}", again=300)
    if isinstance(error, InputError):
        return Refused(507, str(error), again=300)
    return error
