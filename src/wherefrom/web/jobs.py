"""One job, and the tables of a history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

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
