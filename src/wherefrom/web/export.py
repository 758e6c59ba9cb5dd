"""The history as a file: CSV, JSON, or a ZIP of the reports; written as it is sent.

At no time more than one page of the history, or one report, is in memory.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from wherefrom.core.saving.json_text import to_json
from wherefrom.report.pages.files import INSPECTION, PAGE
from wherefrom.report.pages.tables import BYTE_ORDER_MARK, csv_text
from wherefrom.web.jobs.history import Job, JobState
from wherefrom.web.service import Service

KINDS = {"csv": "text/csv; charset=utf-8", "json": "application/json", "zip": "application/zip"}
ANSWERED = ("model", "origin", "naturalness", "outlier", "credit")
COLUMNS = ("number", "image", "job", "created", *ANSWERED, "sentences", "error")
AT_ONCE = 200  # jobs of one page of the history
MAX_STEM = 60  # characters of a name inside the ZIP


@dataclass(frozen=True)
class Wanted:
    """Which jobs are exported: those with this answer, and with this in their name."""

    question: str = ""
    state: str = ""
    name: str = ""

    def fits(self, job: Job) -> bool:
        """Whether a job is exported; one that has not ended never is."""
        answers = [a["state"] for a in job.summary if self.question in ("", a["question"])]
        named = self.name.casefold() in job.name.casefold()
        return job.ended and named and (not self.state or self.state in answers)


def export(service: Service, kind: str, wanted: Wanted) -> AsyncIterator[bytes]:
    """The bytes of the file; `kind` is one of `KINDS`."""
    makers = {"csv": _csv, "json": _json, "zip": _zip}
    return makers[kind](service, _jobs(service, wanted))


async def _jobs(service: Service, wanted: Wanted) -> AsyncIterator[Job]:
    before = None
    while page := await service.newest(AT_ONCE, before=before):
        for job in page:
            if wanted.fits(job):
                yield job
        before = page[-1].number


async def _csv(service: Service, jobs: AsyncIterator[Job]) -> AsyncIterator[bytes]:
    yield _line([BYTE_ORDER_MARK + COLUMNS[0], *COLUMNS[1:]])
    async for job in jobs:
        states = {answer["question"]: answer["state"] for answer in job.summary}
        sentences = " ".join(str(answer["sentence"]) for answer in job.summary)
        texts = [job.name, str(job.state), _time(job), *(states.get(q, "") for q in ANSWERED)]
        yield _line([job.number, *map(csv_text, [*texts, sentences, job.error])])


async def _json(service: Service, jobs: AsyncIterator[Job]) -> AsyncIterator[bytes]:
    yield b'{"kind": "wherefrom history", "jobs": ['
    between = ""
    async for job in jobs:
        row = {
            "id": job.id,
            "number": job.number,
            "name": job.name,
            "state": str(job.state),
            "created": job.created,
            "error": job.error,
            "answers": list(job.summary),
        }
        yield (between + to_json(row, indent=None)).encode()
        between = ",\n"
    yield b"]}\n"


async def _zip(service: Service, jobs: AsyncIterator[Job]) -> AsyncIterator[bytes]:
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_DEFLATED) as archive:
        async for job in jobs:
            if job.state is not JobState.DONE:
                continue
            folder, inside = service.history.place(job.id), name_in_archive(job)
            for name in (PAGE, INSPECTION):
                with suppress(FileNotFoundError):  # it was removed meanwhile
                    await asyncio.to_thread(archive.write, folder / name, f"{inside}/{name}")
                yield sink.take()
    yield sink.take()


def name_in_archive(job: Job) -> str:
    """The folder of a job in the ZIP: its number, and what of its name is safe everywhere."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", job.name.rpartition(".")[0] or job.name)
    return f"{job.number:06d}-{stem[:MAX_STEM].strip('_') or 'image'}"


class _Sink(io.RawIOBase):
    """Collects what a ZIP writes, until it is taken; it cannot be sought in."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        data, self._data = bytes(self._data), bytearray()
        return data


def _line(cells: list[Any]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().encode("utf-8", "replace")


def _time(job: Job) -> str:
    return datetime.fromtimestamp(job.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
