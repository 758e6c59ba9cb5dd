"""One worker process, asked from the event loop: started, asked, killed, started again."""

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
# What a process that opens strangers' files has no use for.
SECRETS = ("WHEREFROM_TOKEN", "WHEREFROM_HISTORY", "PGPASSWORD")


class WorkerDied(Exception):  # noqa: N818 (what happened)
    """The process ended in the middle of a job."""


class Worker:
    """A process that speaks the worker's lines.  One job at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._process: Process | None = None

    @property
    def alive(self) -> bool:
        """Whether a process is there."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and wait until its case is open; an `InputError` if it refuses the case."""
        kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES, env=kept
        )
        try:
            told = await asyncio.wait_for(self._line(), START_SECONDS)
        except (WorkerDied, TimeoutError) as error:
            await self.kill()
            raise InputError("the worker process did not start; its output says why") from error
        if "refused" in told:
            await self.kill()
            raise InputError(str(told["refused"]))

    async def ask(self, job: dict[str, str], step: Step) -> dict[str, Any]:
        """Do one job; what came of it (`finished` or `error`).  `WorkerDied` if it did."""
        process = self._process
        if process is None or process.stdin is None:
            raise WorkerDied
        try:
            process.stdin.write((json.dumps(job) + "\n").encode())
            await process.stdin.drain()
        except ConnectionError as error:
            raise WorkerDied from error
        while True:
            told = await self._line()
            if "finished" in told or "error" in told:
                return told
            await step(told)

    async def kill(self) -> None:
        """End it now, in the middle of a job if need be."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _line(self) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerDied
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise WorkerDied(f"signal {-code}" if code < 0 else f"exit code {code}")
        found: dict[str, Any] = json.loads(line)
        return found
