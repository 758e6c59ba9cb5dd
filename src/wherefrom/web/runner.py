"""A worker process, controlled from the event loop: it can be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from wherefrom.core.errors import InputError

LINE_BYTES = 4 * 2**20
START_SECONDS = 600.0
Step = Callable[[dict[str, Any]], Awaitable[None]]
# Not passed on to the process that opens uploaded files.
SECRETS = ("WHEREFROM_TOKEN", "WHEREFROM_HISTORY", "PGPASSWORD")


class WorkerDiedError(Exception):
    """The process ended in the middle of a job."""


class Worker:
    """A process that runs `web.worker`.  It does one job at a time."""

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
