"""Every job that was accepted, in one SQLite file: nothing accepted is lost, whatever is killed.

    data/history.sqlite     the jobs
    data/history.lock       held while a service runs; a second one is refused
    data/jobs/<id>/         upload, inspection.json, report.html

A job's row is committed after its upload is on the disk, and before the client hears of it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wherefrom.core.database import database_errors, transaction
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path

SCHEMA = 1
NAME, LOCK, JOBS, UPLOAD = "history.sqlite", "history.lock", "jobs", "upload"
MOST_ATTEMPTS = 3
TABLES = """
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  bytes INTEGER NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, started REAL, finished REAL,
  attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  summary TEXT NOT NULL DEFAULT '[]');
CREATE INDEX waiting ON jobs (state, number);
"""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
OPEN = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """One image that was handed in.  Times are seconds since 1970."""

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

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


class History:
    """The open history of one service.  Use it from the thread that opened it."""

    def __init__(self, folder: Path) -> None:
        """Open or make it; an `InputError` if another service holds it."""
        self.folder = folder
        try:
            (folder / JOBS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the folder {show_path(folder)}: {error.strerror}"
            ) from error
        self._lock = _take_lock(folder / LOCK)
        try:
            with self._errors():
                self._base = sqlite3.connect(folder / NAME, isolation_level=None)
                self._base.execute("PRAGMA journal_mode = WAL")
                self._base.execute("PRAGMA synchronous = FULL")
                self._prepare()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let go of the file and of the lock."""
        self._base.close()
        os.close(self._lock)

    def place(self, job: str) -> Path:
        """The folder of a job."""
        return self.folder / JOBS / job

    def new_id(self) -> str:
        """A name that cannot be guessed."""
        return secrets.token_hex(16)

    def accept(self, job: str, name: str, size: int) -> Job:
        """Write down a job whose upload is on the disk."""
        with self._changing() as base:
            base.execute(
                "INSERT INTO jobs (id, name, bytes, state, created) VALUES (?, ?, ?, ?, ?)",
                (job, name, size, JobState.QUEUED, time.time()),
            )
        return self.get(job)

    def get(self, job: str) -> Job:
        """One job; a `KeyError` if there is none of that name."""
        rows = self._rows("WHERE id = ?", job)
        if not rows:
            raise KeyError(job)
        return rows[0]

    def newest(self, count: int, *, before: int | None = None) -> list[Job]:
        """Jobs, newest first, those below the number `before` where given."""
        if before is None:
            return self._rows("ORDER BY number DESC LIMIT ?", count)
        return self._rows("WHERE number < ? ORDER BY number DESC LIMIT ?", before, count)

    def waiting(self) -> int:
        """How many jobs are queued."""
        return self._counted("WHERE state = ?", JobState.QUEUED)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._errors():
            found = dict(self._base.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {str(state): int(found.get(state, 0)) for state in JobState}

    def start_next(self) -> Job | None:
        """The job that waits longest, now running; None if none waits."""
        waiting = self._rows("WHERE state = ? ORDER BY number LIMIT 1", JobState.QUEUED)
        if not waiting:
            return None
        with self._changing() as base:
            base.execute(
                "UPDATE jobs SET state = ?, started = ?, attempts = attempts + 1 WHERE id = ?",
                (JobState.RUNNING, time.time(), waiting[0].id),
            )
        return self.get(waiting[0].id)

    def finish(
        self, job: str, state: JobState, *, error: str = "", summary: Sequence[Any] = ()
    ) -> None:
        """How a job ended, unless it has ended already."""
        if not self.get(job).ended:
            told = json.dumps(list(summary), allow_nan=False)
            self._set(job, state=state, finished=time.time(), error=error, summary=told)

    def requeue(self, job: str, *, blameless: bool) -> None:
        """Put a running job back; `blameless`: the attempt does not count."""
        if self.get(job).state is JobState.RUNNING:
            back = 1 if blameless else 0
            with self._changing() as base:
                base.execute(
                    "UPDATE jobs SET state = ?, started = NULL, attempts = attempts - ? "
                    "WHERE id = ?",
                    (JobState.QUEUED, back, job),
                )

    def recover(self) -> int:
        """After a crash: running jobs wait again, but for those that were begun too often.

        Uploads that were never accepted are removed.  How many wait again.
        """
        again = 0
        for job in self._rows("WHERE state = ?", JobState.RUNNING):
            if job.attempts >= MOST_ATTEMPTS:
                error = f"it was begun {job.attempts} times and never finished"
                self.finish(job.id, JobState.FAILED, error=error)
            else:
                self.requeue(job.id, blameless=False)
                again += 1
        known = {row[0] for row in self._base.execute("SELECT id FROM jobs")}
        for entry in (self.folder / JOBS).iterdir():
            if entry.name not in known:
                shutil.rmtree(entry, ignore_errors=True)
        return again

    def forget_oldest(self, keep: int) -> int:
        """Remove ended jobs and their files beyond the `keep` newest; how many."""
        old = self._rows("WHERE finished IS NOT NULL ORDER BY number DESC LIMIT -1 OFFSET ?", keep)
        for job in old:
            with self._changing() as base:
                base.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
            shutil.rmtree(self.place(job.id), ignore_errors=True)
        return len(old)

    def _prepare(self) -> None:
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._base.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            raise ArtifactError(
                f"{show_path(self.folder)} holds a history of format {version}, this version "
                f"reads {SCHEMA}; name another folder with --data"
            )

    def _rows(self, where: str, *values: Any) -> list[Job]:
        with self._errors():
            found = self._base.execute(
                "SELECT number, id, name, bytes, state, created, started, finished, attempts, "  # noqa: S608 (ours)
                f"error, summary FROM jobs {where}",
                values,
            ).fetchall()
        return [_job(row) for row in found]

    def _counted(self, where: str, *values: Any) -> int:
        with self._errors():
            query = f"SELECT count(*) FROM jobs {where}"  # noqa: S608 (ours)
            return int(self._base.execute(query, values).fetchone()[0])

    def _set(self, job: str, **values: Any) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._changing() as base:
            base.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*values.values(), job))  # noqa: S608 (ours)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._errors(), transaction(self._base, "BEGIN IMMEDIATE") as base:
            yield base

    def _errors(self) -> AbstractContextManager[None]:
        place = show_path(self.folder / NAME)
        return database_errors(
            place, lambda problem: ArtifactError(f"{place} is damaged: {problem}")
        )


def _job(row: Any) -> Job:
    *head, state, created, started, finished, attempts, error, summary = row
    number, name, called, size = head
    times = created, started, finished
    return Job(
        number, name, called, size, JobState(state), *times, attempts, error, json.loads(summary)
    )


def _take_lock(path: Path) -> int:
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with suppress(OSError):
            os.close(handle)
        raise InputError(
            f"another service uses {show_path(path.parent)}; stop it, or name another --data"
        ) from error
    return handle
