"""Answers stored by digest in one SQLite file: an image that was judged is not judged again.

The key is the digest of the image's file with that of everything the answer rests on: the
attributor's numbers and settings, and this version of the package.  One file may serve any number
of attributors.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

from wherefrom import __version__
from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.result import ImageVerdict
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.limits import limits_in_force, reading_key
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import Closing, database_errors, transaction
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import UnusableFile

SCHEMA = 2
TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (basis TEXT, image TEXT, answer TEXT NOT NULL, "
    "PRIMARY KEY (basis, image)) WITHOUT ROWID"
)
WAIT_SECONDS = 30.0  # for another process that writes


class Answers(Closing):
    """An open file of answers of one attributor; best in a `with` statement.

    An `InputError` if the file cannot be used, an `ArtifactError` if it holds something else.
    """

    def __init__(self, path: Path, fitted: Attributor) -> None:
        self.path, self.basis = Path(path), basis_of(fitted)
        if self.path.is_dir():
            raise InputError(f"{show_path(self.path)} is a folder; name a file for the answers")
        with self._errors():
            self._base = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            try:
                self._base.execute(TABLE)
            except BaseException:
                self._base.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def find(self, files: Sequence[Path]) -> dict[Path, ImageVerdict]:
        """The answers that are known, by file; each file is read for its digest."""
        answers = {}
        for path in files:
            digest = _digest(path)
            with self._errors():
                row = self._base.execute(
                    "SELECT answer FROM answers WHERE basis = ? AND image = ?",
                    (self.basis, digest),
                ).fetchone()
            if row is not None:
                answers[path] = replace(self._read(row[0]), name=str(path))
        return answers

    def store(self, rows: Sequence[ImageVerdict]) -> None:
        """Store the answers about files that could be read; they are on disk when this returns."""
        records = [
            (self.basis, row.digest, json.dumps(row.to_dict() | {"name": ""}))
            for row in rows
            if row.digest is not None
        ]
        with self._errors(), transaction(self._base, "BEGIN IMMEDIATE") as base:
            base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", records)

    def _read(self, text: str) -> ImageVerdict:
        try:
            values = json.loads(text)
            possible = tuple(Verdict(answer) for answer in values["possible"])
            verdict = Verdict(values["verdict"])
            return ImageVerdict(**values | {"verdict": verdict, "possible": possible})
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged(str(error)) from error

    def _errors(self) -> AbstractContextManager[None]:
        return database_errors(show_path(self.path), self._damaged)

    def _damaged(self, problem: str) -> ArtifactError:
        return ArtifactError(
            f"{show_path(self.path)} is no file of answers, or damaged ({problem}); delete it or "
            "name another one"
        )


def basis_of(fitted: Attributor) -> str:
    """The digest of all that an answer rests on besides the image."""
    basis = {
        "answers": SCHEMA,
        "version": __version__,
        "reading": reading_key(),
        "method": fitted.method,
        "config": fitted.config.to_dict(),
        "noise": None if fitted.noise is None else asdict(fitted.noise),
        "shape": list(fitted.image_shape),
        "numbers": fitted.digest,
        "generator": fitted.provenance["generator"]["digest"],
    }
    return digest_bytes(json.dumps(basis, sort_keys=True).encode())


def _digest(path: Path) -> str:
    """Of the file's content; "" where it cannot be read, which judging will say."""
    try:
        return digest_bytes(read_file(path, max_bytes=limits_in_force().max_bytes))
    except UnusableFile:
        return ""
