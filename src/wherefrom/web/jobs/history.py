"""Every accepted job, in one database: no accepted job is lost when a process is killed.

    data/history.sqlite     the jobs, where no Postgres is given
    data/history.lock       held while a service runs on that file; a second one is refused
    data/jobs/<id>/         upload, inspection.json, report.html
    data/jobs-<mark>/<id>/  the same for a history in Postgres, which has a mark of its own

A job's row is committed after its upload is on the disk, and before the client hears of it.

A worker claims a job; the claim holds until its lease ends, and is renewed before.  A job whose
lease has ended is reclaimed; what its former holder writes then has no effect.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    func,
    insert,
    inspect,
    select,
    update,
)

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path
from wherefrom.web.jobs.databases import CONNECTIONS, open_database

JOBS, UPLOAD = "jobs", "upload"
MAX_ATTEMPTS = 3
OLD_TABLE = "jobs"  # of format 1
SCHEMA = 2
TABLES = MetaData()
ABOUT = Table("wherefrom_history", TABLES, Column("format", Integer), Column("folder", Text))
ROWS = Table(
    "wherefrom_jobs",
    TABLES,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", Text, nullable=False, default=""),
    Column("summary", Text, nullable=False, default="[]"),
    Column("step", Text),  # JSON
    Column("claim", Text, unique=True),  # of running jobs
    Column("lease", Double),  # until when the claim lasts unless it is renewed
    Index("wherefrom_waiting", "state", "number"),
    sqlite_autoincrement=True,
)


class JobState(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
OPEN = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """One uploaded image.  Times are seconds since 1970."""

    number: int
    id: str
    name: str
    bytes: int
    state: JobState
    created: float
    started: float | None
    finished: float | None
    attempts: int
    error: str
    summary: Sequence[dict[str, Any]]
    step: dict[str, Any] | None
    claim: str | None
    lease: float | None

    @property
    def ended(self) -> bool:
        """Whether the job is done, failed or cancelled."""
        return self.state in ENDED


def job_of(row: Any) -> Job:
    """The job of a row of `ROWS`."""
    values = dict(row._mapping)
    step = values["step"]
    return Job(
        **values
        | {
            "state": JobState(values["state"]),
            "summary": json.loads(values["summary"]),
            "step": None if step is None else json.loads(step),
        }
    )


COLUMN = ROWS.c
FREED: dict[str, Any] = {"claim": None, "lease": None, "step": None}

P = ParamSpec("P")
R = TypeVar("R")


class JobHistory:
    """An open history.  Its methods wait for the database: call them with `in_thread`."""

    def __init__(self, folder: Path, address: str | None = None) -> None:
        """Open or make it, in `folder` or in the Postgres at `address`.

        An `InputError` if another service holds it, or its uploads are not in `folder`; an
        `ArtifactError` if it is of another format.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the folder {show_path(folder)}: {error.strerror}"
            ) from error
        self._base = open_database(folder, address)
        try:
            self.jobs = self._prepare(folder)
        except BaseException:
            self._base.close()
            raise
        self.shared = self._base.shared
        self._threads = ThreadPoolExecutor(CONNECTIONS, "history")

    def close(self) -> None:
        """Close the database, and release the lock on its file."""
        self._threads.shutdown()
        self._base.close()

    async def in_thread(self, call: Callable[P, R], *args: P.args, **given: P.kwargs) -> R:
        """Run `call` in a thread.  It runs to its end, even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, lambda: call(*args, **given))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.gather(future, return_exceptions=True)
            raise

    def place(self, job: str) -> Path:
        """The folder of a job."""
        return self.jobs / job

    def new_id(self) -> str:
        """A new job id, which cannot be guessed."""
        return secrets.token_hex(16)

    def new_claim(self) -> str:
        """The name of a new claim: the machine, the process, and a random number."""
        return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"

    def accept(self, job: str, name: str, size: int, max_waiting: int | None = None) -> Job | None:
        """Record a job whose upload is on the disk; None if `max_waiting` jobs wait already."""
        row = {"id": job, "name": name, "bytes": size, "state": JobState.QUEUED}
        with self._base.changing(alone=True) as base:
            queued = COLUMN.state == JobState.QUEUED
            if max_waiting is not None and _count(base, queued) >= max_waiting:
                return None
            base.execute(insert(ROWS).values(row | {"created": self._base.now()}))
            return job_of(base.execute(select(ROWS).where(COLUMN.id == job)).one())

    def get(self, job: str) -> Job:
        """One job; a `KeyError` if there is none of that name."""
        rows = self._rows(select(ROWS).where(COLUMN.id == job))
        if not rows:
            raise KeyError(job)
        return rows[0]

    def newest(self, count: int, *, before: int | None = None) -> list[Job]:
        """Jobs, newest first, those below the number `before` where given."""
        query = select(ROWS).order_by(COLUMN.number.desc()).limit(count)
        return self._rows(query if before is None else query.where(COLUMN.number < before))

    def waiting(self) -> int:
        """How many jobs are queued."""
        with self._base.reading() as base:
            return _count(base, COLUMN.state == JobState.QUEUED)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._base.reading() as base:
            query = select(COLUMN.state, func.count()).group_by(COLUMN.state)
            counted = {state: int(count) for state, count in base.execute(query)}
        return {str(state): counted.get(state, 0) for state in JobState}

    def claim_next(self, claim: str, seconds: float) -> Job | None:
        """Claim the job that waits longest, which then runs; None if none waits.

        A second call with the same claim, as after a lost connection, returns the same job.
        """
        with self._base.changing() as base:
            lease = self._base.now() + seconds
            mine = update(ROWS).where(COLUMN.claim == claim).values(lease=lease)
            if not base.execute(mine).rowcount:
                waiting = (
                    select(COLUMN.number)
                    .where(COLUMN.state == JobState.QUEUED)
                    .order_by(COLUMN.number)
                )
                first = base.scalar(waiting.limit(1).with_for_update(skip_locked=True))
                if first is None:
                    return None
                base.execute(
                    update(ROWS)
                    .where(COLUMN.number == first)
                    .values(
                        state=JobState.RUNNING,
                        started=self._base.now(),
                        attempts=COLUMN.attempts + 1,
                        claim=claim,
                        lease=lease,
                    )
                )
            return job_of(base.execute(select(ROWS).where(COLUMN.claim == claim)).one())

    def renew(self, claims: Collection[str], seconds: float) -> set[str]:
        """Prolong leases of which a third has passed; returns the claims that still hold."""
        with self._base.changing() as base:
            now, held = self._base.now(), COLUMN.claim.in_(claims)
            soon = COLUMN.lease < now + seconds * 2 / 3
            base.execute(update(ROWS).where(held, soon).values(lease=now + seconds))
            return set(base.scalars(select(COLUMN.claim).where(held)))

    def record_step(self, claim: str, step: dict[str, Any]) -> None:
        """Record what is being done for a running job."""
        self._change(COLUMN.claim == claim, step=json.dumps(step, allow_nan=False))

    def finish(
        self, claim: str, state: JobState, *, error: str = "", summary: Sequence[Any] = ()
    ) -> bool:
        """Record how a running job ended; False if the claim no longer holds."""
        answers = json.dumps(list(summary), allow_nan=False)
        text = error.replace("\0", "\N{REPLACEMENT CHARACTER}")  # Postgres holds no NUL
        ended = {"state": state, "finished": self._base.now(), "error": text, "summary": answers}
        return self._change(COLUMN.claim == claim, **ended, **FREED)

    def release(self, claim: str, *, blameless: bool) -> bool:
        """Let a running job wait again, False as `finish`; `blameless`: not counted as a try."""
        tried = COLUMN.attempts - 1 if blameless else COLUMN.attempts
        again = {"state": JobState.QUEUED, "started": None, "attempts": tried}
        return self._change(COLUMN.claim == claim, **again, **FREED)

    def cancel(self, job: str) -> bool:
        """End a job that waits or runs, whoever holds it; False if it has ended."""
        is_open = COLUMN.state.in_(OPEN)
        ended = {"state": JobState.CANCELLED, "finished": self._base.now()}
        return self._change(is_open, COLUMN.id == job, **ended, **FREED)

    def recover(self, *, everything: bool = False) -> int:
        """Let jobs wait again whose lease has ended; returns how many.

        A job that was begun `MAX_ATTEMPTS` times fails instead.  `everything`: reclaim jobs with a
        lease that has not ended, too; no other service may be working then.
        """
        lost = COLUMN.state == JobState.RUNNING
        with self._base.changing() as base:
            if not everything:
                lost &= COLUMN.lease < self._base.now()
            query = select(ROWS).where(lost).with_for_update(skip_locked=True)
            jobs = [job_of(row) for row in base.execute(query)]
            for job in jobs:
                base.execute(
                    update(ROWS).where(COLUMN.number == job.number).values(self._after(job))
                )
        return sum(job.attempts < MAX_ATTEMPTS for job in jobs)

    def sweep(self, seconds: float) -> None:
        """Remove uploads that were never accepted and are older than that."""
        oldest, old = time.time() - seconds, []
        for entry in self.jobs.iterdir():
            with suppress(FileNotFoundError):  # another service sweeps too
                if entry.stat().st_mtime <= oldest:
                    old.append(entry)
        with self._base.reading() as base:
            known = set(base.scalars(select(COLUMN.id)))
        for entry in old:
            if entry.name not in known:
                shutil.rmtree(entry, ignore_errors=True)

    def forget_oldest(self, keep: int) -> int:
        """Remove ended jobs and their files except the `keep` newest; returns how many."""
        query = (
            select(COLUMN.id)
            .where(COLUMN.finished.is_not(None))
            .order_by(COLUMN.number.desc())
            .offset(keep)
        )
        with self._base.reading() as base:
            old = list(base.scalars(query))
        for job in old:
            with self._base.changing() as base:
                base.execute(ROWS.delete().where(COLUMN.id == job))
            shutil.rmtree(self.place(job), ignore_errors=True)
        return len(old)

    def remove(self, job: str) -> bool:
        """Remove a job that has ended, and its files; False if it has not, or is not there."""
        with self._base.changing() as base:
            ended = (COLUMN.id == job) & COLUMN.finished.is_not(None)
            removed = base.execute(ROWS.delete().where(ended)).rowcount > 0
        if removed:
            shutil.rmtree(self.place(job), ignore_errors=True)
        return removed

    def _after(self, job: Job) -> dict[str, Any]:
        """What becomes of a running job whose holder has gone."""
        if job.attempts < MAX_ATTEMPTS:
            return {"state": JobState.QUEUED, "started": None} | FREED
        error = f"it was begun {job.attempts} times and never finished"
        now = self._base.now()
        return {"state": JobState.FAILED, "finished": now, "error": error} | FREED

    def _prepare(self, folder: Path) -> Path:
        """Make the tables where there are none; the folder of the uploads."""
        where, name = self._base.shown, JOBS
        with self._base.changing(alone=True) as base:
            if not self._base.shared:
                (folder / JOBS).mkdir(exist_ok=True)
            if inspect(base).has_table(ABOUT.name):
                version, name = base.execute(select(ABOUT)).one()
            elif not self._base.shared and inspect(base).has_table(OLD_TABLE):
                version = 1
            else:
                version = SCHEMA
                if self._base.shared:
                    name = f"{JOBS}-{secrets.token_hex(4)}"
                TABLES.create_all(base)
                base.execute(insert(ABOUT).values(format=SCHEMA, folder=name))
                (folder / name).mkdir(exist_ok=True)
        if version != SCHEMA:
            other = "database with --history" if self._base.shared else "folder with --data"
            raise ArtifactError(
                f"{where} holds a history of format {version}, this version reads {SCHEMA}; "
                f"name another {other}"
            )
        if not (folder / name).is_dir():
            raise InputError(
                f"{where} keeps its uploads in a folder {name}, which is not in "
                f"{show_path(folder)}; name with --data the folder that all its services share"
            )
        return folder / name

    def _rows(self, query: Select[Any]) -> list[Job]:
        with self._base.reading() as base:
            return [job_of(row) for row in base.execute(query)]

    def _change(self, *where: ColumnElement[bool], **values: Any) -> bool:
        with self._base.changing() as base:
            return base.execute(update(ROWS).where(*where).values(values)).rowcount > 0


def _count(base: Connection, where: ColumnElement[bool]) -> int:
    return int(base.scalar(select(func.count()).select_from(ROWS).where(where)) or 0)
