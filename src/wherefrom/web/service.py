"""The service behind the HTTP interface: accepts, queues, follows and cancels jobs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.saving.store import flush_file, flush_folder
from wherefrom.web.forms import ImageForm
from wherefrom.web.jobs.crew import Bell, Crew, Metrics
from wherefrom.web.jobs.databases import HistoryAwayError
from wherefrom.web.jobs.history import UPLOAD, Job, JobHistory, JobState
from wherefrom.web.settings import ServiceConfig

NAME_LENGTH = 200
# Other services may be in the middle of an upload, so only what is older was never accepted.
ABANDONED_SECONDS = 3600.0


class UploadRefusedError(Exception):
    """An upload that is not taken, with its HTTP status."""

    def __init__(self, status: int, reason: str, *, again: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.again = status, reason, again


class Service:
    """Jobs of a history, and the workers that do them.  Use it from its event loop."""

    def __init__(self, history: JobHistory, command: Sequence[str], config: ServiceConfig) -> None:
        """`command` starts a worker; the service closes the history."""
        self.config, self.history = config, history
        self.metrics = Metrics(history)
        self.closing = False
        self._bell = Bell()
        self._crew = Crew(history, command, config, self.metrics, self._bell)

    async def start(self) -> int:
        """Open the case and begin to work; returns how many jobs of an earlier run continue."""
        history, again = self.history, 0
        if not history.shared:  # so whoever was at work has gone
            again = await history.in_thread(history.recover, everything=True)
        oldest = ABANDONED_SECONDS + self.config.upload_seconds if history.shared else 0.0
        await history.in_thread(history.sweep, oldest)
        await self._crew.start()
        return again

    async def stop(self) -> None:
        """Stop working; a running job waits again, and is done by the next service."""
        await self.stop_accepting()
        await self._crew.stop()
        self.history.close()

    async def stop_accepting(self) -> None:
        """Take no more jobs, and end the streams of events."""
        self.closing = True
        await self._bell.ring()

    @property
    def healthy(self) -> bool:
        """Whether jobs are being worked on."""
        return self._crew.healthy and not self.closing

    async def waiting(self) -> int | None:
        """How many images wait; None if the history does not answer."""
        with suppress(InputError):
            return await self.history.in_thread(self.history.waiting)
        return None

    async def get(self, job: str) -> Job:
        """One job; a `KeyError` if there is none of that name."""
        return await self.history.in_thread(self.history.get, job)

    async def newest(self, count: int, *, before: int | None) -> list[Job]:
        """Jobs, newest first, those below the number `before` where given."""
        return await self.history.in_thread(self.history.newest, count, before=before)

    async def require_capacity(self) -> None:
        """Raise `UploadRefusedError` if no upload can be accepted now."""
        if self.closing:
            raise UploadRefusedError(503, "the service is stopping; come back later", again=30)
        if await self.history.in_thread(self.history.waiting) >= self.config.queue:
            raise self._full()

    async def accept(self, name: str, body: AsyncIterator[bytes]) -> Job:
        """Accept an upload: it is written to the disk, then to the history, then confirmed."""
        try:
            await self.require_capacity()  # before the body is read
        except InputError as error:
            raise _as_refusal(error) from error
        job = self.history.new_id()
        folder = self.history.place(job)
        try:
            folder.mkdir()
            size = await self._write(folder / UPLOAD, body)
            await asyncio.to_thread(_flush, folder)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _as_refusal(error) from error
        accepted = await self._record(job, shown_name(name), size)
        with suppress(InputError):  # it is accepted all the same; the next upload tries again
            await self.history.in_thread(self.history.forget_oldest, self.config.keep)
        await self._bell.ring()
        return accepted

    async def _record(self, job: str, name: str, size: int) -> Job:
        """Record the job.  Its upload is removed only if it is certain that it was not recorded."""
        folder, queue = self.history.place(job), self.config.queue
        try:
            if self.closing:
                await self.require_capacity()
            accepted = await self.history.in_thread(self.history.accept, job, name, size, queue)
            if accepted is None:
                raise self._full()
        except (HistoryAwayError, asyncio.CancelledError) as error:  # it may be there
            raise _as_refusal(error) from error
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _as_refusal(error) from error
        return accepted

    def _full(self) -> UploadRefusedError:
        return UploadRefusedError(
            503, f"{self.config.queue} images wait already; come back", again=30
        )

    def too_large(self) -> UploadRefusedError:
        """The refusal of an upload above the limit."""
        return UploadRefusedError(413, f"the file is larger than {self.config.max_upload_mib} MiB")

    async def _write(self, path: Path, body: AsyncIterator[bytes]) -> int:
        size = 0
        try:
            async with asyncio.timeout(self.config.upload_seconds):
                with path.open("xb") as file:
                    async for chunk in body:
                        size += len(chunk)
                        if size > self.config.max_upload_bytes:
                            raise self.too_large()
                        await asyncio.to_thread(file.write, chunk)
        except TimeoutError as error:
            raise _too_slow() from error
        if not size:
            raise UploadRefusedError(400, "the file is empty; send the bytes of one image")
        return size

    async def remove(self, job: str) -> Job:
        """Remove a job with its upload and report; one that has not ended is cancelled first."""
        last = await self.cancel(job)
        await self.history.in_thread(self.history.remove, job)
        await self._bell.ring()
        return last

    async def find_file(self, form: ImageForm) -> None:
        """Read a form up to its file, which may take as long as an upload may."""
        try:
            async with asyncio.timeout(self.config.upload_seconds):
                await form.find_file()
        except TimeoutError as error:
            raise _too_slow() from error

    async def cancel(self, job: str) -> Job:
        """Cancel a job that has not ended; whichever service works on it kills its process."""
        if await self.history.in_thread(self.history.cancel, job):
            self.metrics.ended(JobState.CANCELLED)
            await self._crew.kill(job)
        await self._bell.ring()
        return await self.get(job)

    async def follow(self, job: str) -> AsyncIterator[Job | None]:
        """The job now and after every change, until it ends; None after a time without a change."""
        last: tuple[JobState, Any] | None = None
        while True:
            seen = self._bell.rings
            try:
                current = await self.get(job)
            except HistoryAwayError:  # it may come back
                yield None
            except KeyError:  # it ended, and was the oldest
                return
            else:
                shown = (current.state, current.step)
                yield current if shown != last else None
                last = shown
                if current.ended:
                    return
            if self.closing:
                return
            await self._bell.wait(seen, self._crew.pause())


def shown_name(name: str) -> str:
    """The name of a file in reports: one printable line; it is never used as a path."""
    base = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(c if c.isprintable() else "_" for c in base).strip()[:NAME_LENGTH]
    return text or "image"


def _too_slow() -> UploadRefusedError:
    return UploadRefusedError(408, "the upload took too long and was given up")


def _flush(folder: Path) -> None:
    """Wait until the upload is on the disk."""
    with (folder / UPLOAD).open("rb") as file:
        flush_file(file.fileno())
    flush_folder(folder)
    flush_folder(folder.parent)


def _as_refusal(error: BaseException) -> BaseException:
    if isinstance(error, OSError):
        return UploadRefusedError(507, f"the upload cannot be kept: {error.strerror}", again=300)
    if isinstance(error, HistoryAwayError):
        return UploadRefusedError(503, error.for_clients, again=10)
    if isinstance(error, InputError):
        return UploadRefusedError(507, str(error), again=300)
    return error
