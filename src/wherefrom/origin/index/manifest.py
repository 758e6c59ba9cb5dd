"""The manifest of an index: one SQLite database that says what the index holds.

A segment file that no committed row names does not exist.  Every change is one transaction.

The journal is SQLite's rollback journal, not a write-ahead log: a folder at rest then has one
manifest file that can be copied, read from a read-only medium, or shared by network file systems
that lack the shared memory of the log.  A commit waits for reads under way, which are short.  With
this journal only `synchronous=EXTRA` survives a power cut right after a commit (FULL does not
flush the folder from which the journal was removed, so that it could return and undo the commit).

The writer's lock is a transaction held open on a database of its own.  It works wherever SQLite
does, and ends with the process, however that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import database_errors, transaction
from wherefrom.origin.index.segments import SegmentInfo

NAME, LOCK_NAME = "manifest.sqlite", "writer.lock"
SCHEMA = 2  # 1 stored paths as they were given, relative to a folder that it did not store
APPLICATION_ID = 0x57464958  # "WFIX", so that another program's database is told apart
WAIT_SECONDS = 30.0
TABLES = """
-- home: the folder of the index when its paths were last written.
CREATE TABLE identity (dim INTEGER NOT NULL, identity TEXT NOT NULL, home BLOB NOT NULL);
CREATE TABLE segments (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, digest TEXT NOT NULL
);
-- A path is absolute, and the bytes that the operating system has; not every one of them is text.
CREATE TABLE images (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  path BLOB NOT NULL, digest TEXT NOT NULL,
  segment INTEGER NOT NULL REFERENCES segments (id), row INTEGER NOT NULL,
  added REAL NOT NULL, deleted REAL,
  UNIQUE (segment, row)
);
CREATE UNIQUE INDEX live_paths ON images (path) WHERE deleted IS NULL;
CREATE INDEX live_digests ON images (digest) WHERE deleted IS NULL;
-- The folders that were given, which a synchronisation looks through, and what is to stay out.
CREATE TABLE folders (path BLOB PRIMARY KEY);
CREATE TABLE removed (path BLOB PRIMARY KEY);
"""


@dataclass(frozen=True)
class Place:
    """A segment, and the ids of its live rows: `rows[i]` of the file is the image `ids[i]`."""

    key: int
    info: SegmentInfo
    rows: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]


@dataclass(frozen=True)
class NewImage:
    """An image about to be written to row `row` of a new segment."""

    path: bytes
    digest: str
    row: int


@dataclass(frozen=True)
class Relocation:
    """Where pictures lie now: new `paths` of images by id, and images that are `gone`.

    `home` is the folder of the index; `folders` and `removed` are all paths noted as such.
    """

    home: bytes
    paths: Mapping[int, bytes]
    gone: Sequence[int]
    folders: Sequence[bytes]
    removed: Sequence[bytes]


class Manifest:
    """An open manifest.  Use it from the thread that opened it."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        """Open the manifest of `folder`.

        An `ArtifactError` if it is none, damaged, or of a later schema; an `InputError` if
        `writable` and another process, or another `Index`, writes to it.
        """
        self.folder = folder
        if not (folder / NAME).is_file():
            raise ArtifactError(f"{show_path(folder)} is not an index: it has no file {NAME}")
        self._lock = _take_lock(folder) if writable else None
        try:
            with self._errors():
                self._base = connect(folder / NAME)
                self._refuse_others()
                self._base.execute("PRAGMA foreign_keys = ON")
                self._base.execute("PRAGMA synchronous = EXTRA")
                self._base.execute(f"PRAGMA query_only = {'OFF' if writable else 'ON'}")
                row = self._base.execute("SELECT dim, identity, home FROM identity").fetchone()
            self.dim, self.identity, self.home = self._parsed(row)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(folder: Path, *, dim: int, identity: Mapping[str, Any], home: bytes) -> None:
        """Write the manifest of an empty index into `folder`, which will be the folder `home`."""
        base = connect(folder / NAME, mode="rwc")
        base.execute("PRAGMA synchronous = EXTRA")
        # In one transaction: each commit waits for the disk.
        base.executescript(f"BEGIN; {TABLES}")
        base.execute("INSERT INTO identity VALUES (?, ?, ?)", (dim, as_json(identity), home))
        base.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        base.execute(f"PRAGMA user_version = {SCHEMA}")
        base.execute("COMMIT")
        base.close()

    def close(self) -> None:
        """Close the database and release the writer's lock."""
        for connection in (getattr(self, "_base", None), self._lock):
            if connection is not None:
                connection.close()

    def refuse_reader(self) -> None:
        """An `InputError` unless the manifest was opened for writing."""
        if self._lock is None:
            raise InputError(
                f"{show_path(self.folder)} was opened for reading; open it with writable=True"
            )

    def version(self) -> int:
        """A number that changes when another connection has committed."""
        with self._errors():
            return int(self._base.execute("PRAGMA data_version").fetchone()[0])

    def places(self) -> list[Place]:
        """All segments in order of writing, and where the live images are in them."""
        with self._reading() as base:
            named = base.execute("SELECT id, name, rows, digest FROM segments ORDER BY id")
            infos = {key: SegmentInfo(name, rows, digest) for key, name, rows, digest in named}
            cursor = base.execute(
                "SELECT segment, row, id FROM images WHERE deleted IS NULL ORDER BY segment, row"
            )
            flat = np.fromiter((n for row in cursor for n in row), dtype=np.int64)
        table = flat.reshape(-1, 3)
        edges = (
            np.searchsorted(table[:, 0], list(infos)),
            np.searchsorted(table[:, 0], list(infos), side="right"),
        )
        return [
            Place(key, info, table[low:high, 1].copy(), table[low:high, 2].copy())
            for (key, info), low, high in zip(infos.items(), *edges, strict=True)
        ]

    def count(self) -> int:
        """How many images are live."""
        with self._errors():
            query = "SELECT count(*) FROM images WHERE deleted IS NULL"
            return int(self._base.execute(query).fetchone()[0])

    def content_digest(self) -> str:
        """SHA-256 over the digests of the images that are there, whatever their order and paths."""
        total = hashlib.sha256()
        with self._reading() as base:
            for (digest,) in base.execute(
                "SELECT digest FROM images WHERE deleted IS NULL ORDER BY digest"
            ):
                total.update(f"{digest}\n".encode())
        return "sha256:" + total.hexdigest()

    def records(self, ids: Iterable[int]) -> dict[int, tuple[bytes, str, float]]:
        """(path, digest, time added) of the live images among `ids`."""
        known = (image for image in ids if 0 < image < 2**63)  # what SQLite can be asked for
        return dict(self._look_up("id, path, digest, added", "id", known))

    def live_paths(self, paths: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        """(id, digest) of the live images among `paths`."""
        return dict(self._look_up("path, id, digest", "path", paths))

    def live_images(self) -> list[tuple[int, bytes, str]]:
        """(id, path, digest) of all live images, in order of id."""
        with self._reading() as base:
            sql = "SELECT id, path, digest FROM images WHERE deleted IS NULL ORDER BY id"
            return base.execute(sql).fetchall()

    def with_digest(self, digest: str) -> list[int]:
        """All live images of one digest, in order of id."""
        return sorted(image for _, (image,) in self._look_up("digest, id", "digest", [digest]))

    def noted_paths(self, table: Literal["folders", "removed"]) -> list[bytes]:
        """The paths in `folders` (those given to be added) or `removed` (by hand), sorted."""
        with self._reading() as base:
            sql = f"SELECT path FROM {table} ORDER BY path"  # noqa: S608
            return [path for (path,) in base.execute(sql)]

    def live_digests(self, digests: Iterable[str]) -> dict[str, int]:
        """The first live image of each digest that has one."""
        first: dict[str, int] = {}
        for digest, (image,) in self._look_up("digest, id", "digest", digests):
            first[digest] = min(image, first.get(digest, image))
        return first

    def insert(
        self, info: SegmentInfo, images: Sequence[NewImage], *, replaced: Sequence[int]
    ) -> list[int]:
        """Commit a new segment and its images, and the deletion of `replaced`: the new ids."""
        with self._writing() as base:
            self._mark(base, replaced)
            base.executemany("DELETE FROM removed WHERE path = ?", ((i.path,) for i in images))
            key = _insert_segment(base, info)
            sql = "INSERT INTO images (path, digest, segment, row, added) VALUES (?, ?, ?, ?, ?)"
            now = time.time()
            return [
                int(base.execute(sql, (i.path, i.digest, key, i.row, now)).lastrowid or 0)
                for i in images
            ]

    def delete(self, ids: Sequence[int], *, by_hand: bool = False) -> None:
        """Commit the deletion of live images; `by_hand` notes their paths as `removed`."""
        with self._writing() as base:
            if by_hand:
                sql = "INSERT OR IGNORE INTO removed SELECT path FROM images WHERE id = ?"
                base.executemany(sql, ((image,) for image in ids))
            self._mark(base, ids)

    def note_folders(self, folders: Iterable[bytes]) -> None:
        """Commit that these folders were given to be added."""
        with self._writing() as base:
            sql = "INSERT OR IGNORE INTO folders VALUES (?)"
            base.executemany(sql, ((folder,) for folder in folders))

    def relocate(self, change: Relocation) -> None:
        """Commit where the pictures lie now; images may swap their paths."""
        with self._writing() as base:
            self._mark(base, change.gone)
            sql = "UPDATE images SET path = ? WHERE id = ? AND deleted IS NULL"
            # First to names that no file has, because a path is there once at every moment.
            base.executemany(sql, ((b"\0%d" % image, image) for image in change.paths))
            base.executemany(sql, ((path, image) for image, path in change.paths.items()))
            for table, paths in (("folders", change.folders), ("removed", change.removed)):
                base.execute(f"DELETE FROM {table}")  # noqa: S608
                sql = f"INSERT OR IGNORE INTO {table} VALUES (?)"  # noqa: S608
                base.executemany(sql, ((path,) for path in paths))
            base.execute("UPDATE identity SET home = ?", (change.home,))
        self.home = change.home

    def switch(
        self, old: Sequence[int], new: Sequence[tuple[SegmentInfo, npt.NDArray[np.int64]]]
    ) -> None:
        """Commit new segments, each with the ids of its rows, in the place of the segments `old`.

        Deleted images of the old segments are forgotten.
        """
        gone = [(key,) for key in old]
        with self._writing() as base:
            sql = "DELETE FROM images WHERE segment = ? AND deleted IS NOT NULL"
            base.executemany(sql, gone)
            for info, ids in new:
                key = _insert_segment(base, info)
                base.executemany(
                    "UPDATE images SET segment = ?, row = ? WHERE id = ?",
                    ((key, row, image) for row, image in enumerate(ids.tolist())),
                )
            base.executemany("DELETE FROM segments WHERE id = ?", gone)

    def verify(self) -> None:
        """`ArtifactError` if SQLite finds its file damaged, or a row points outside its segment."""
        with self._reading() as base:
            problem = base.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problem == "ok" and base.execute("PRAGMA foreign_key_check").fetchone():
                problem = "an image names a segment that is not there"
            outside = "SELECT 1 FROM images JOIN segments s ON s.id = segment WHERE row >= s.rows"
            if problem == "ok" and base.execute(outside).fetchone():
                problem = "an image names a row that is not there"
        if problem != "ok":
            raise self._damage(problem)

    def _look_up(self, columns: str, key: str, values: Iterable[Any]) -> Iterator[Any]:
        sql = f"SELECT {columns} FROM images WHERE deleted IS NULL AND {key} = ?"  # noqa: S608
        with self._reading() as base:
            for value in values:
                yield from ((first, tuple(rest)) for first, *rest in base.execute(sql, (value,)))

    @staticmethod
    def _mark(base: sqlite3.Connection, ids: Sequence[int]) -> None:
        """Mark images as deleted."""
        now, sql = time.time(), "UPDATE images SET deleted = ? WHERE id = ? AND deleted IS NULL"
        base.executemany(sql, ((now, image) for image in ids))

    def _refuse_others(self) -> None:
        application = self._base.execute("PRAGMA application_id").fetchone()[0]
        schema = self._base.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise ArtifactError(f"{show_path(self.folder / NAME)} is not the manifest of an index")
        if schema < SCHEMA:
            raise ArtifactError(
                f"{show_path(self.folder)} was written by an earlier wherefrom (index schema "
                f"{schema}, this version reads {SCHEMA}), which did not store where its pictures "
                "lie; build the index again: wherefrom origin build FOLDER --out NEW.index"
            )
        if schema > SCHEMA:
            raise ArtifactError(
                f"{show_path(self.folder)} was written by a later wherefrom (index schema {schema},"
                f" this version reads {SCHEMA}); upgrade wherefrom, or build the index again"
            )

    @contextmanager
    def _reading(self, begin: str = "BEGIN") -> Iterator[sqlite3.Connection]:
        with self._errors(), transaction(self._base, begin) as base:
            yield base

    def _writing(self) -> AbstractContextManager[sqlite3.Connection]:
        self.refuse_reader()
        return self._reading("BEGIN IMMEDIATE")

    def _errors(self) -> AbstractContextManager[None]:
        return database_errors(show_path(self.folder / NAME), self._damage)

    def _parsed(self, row: Any) -> tuple[int, dict[str, Any], bytes]:
        try:
            return int(row[0]), dict(json.loads(row[1])), bytes(row[2])
        except (TypeError, ValueError) as error:
            raise self._damage("its identity cannot be read") from error

    def _damage(self, problem: str) -> ArtifactError:
        return ArtifactError(
            f"{show_path(self.folder / NAME)} is damaged ({problem}); restore the index from a "
            "copy, or build it again"
        )


def as_json(identity: Mapping[str, Any]) -> str:
    """The identity as one canonical text; an `InputError` if it is not made of JSON values."""
    try:
        return json.dumps(identity, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the identity of an index must be JSON values: {error}") from error


def _insert_segment(base: sqlite3.Connection, info: SegmentInfo) -> int:
    sql = "INSERT INTO segments (name, rows, digest) VALUES (?, ?, ?)"
    return int(base.execute(sql, (info.name, info.rows, info.digest)).lastrowid or 0)


def connect(path: Path, *, mode: str = "rw", wait: float = WAIT_SECONDS) -> sqlite3.Connection:
    # As an address, so that no file is created unasked; SQLite opens for reading what is write-
    # protected.  Transactions are begun and ended by hand.
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=wait, isolation_level=None)


def _take_lock(folder: Path) -> sqlite3.Connection:
    try:
        lock = connect(folder / LOCK_NAME, mode="rwc", wait=0)
    except sqlite3.OperationalError as error:
        raise InputError(f"cannot write to {show_path(folder)}: {error}") from error
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise InputError(
            f"{show_path(folder)} is being written to by another process; wait until it is done, "
            "or open the index for reading"
        ) from error
    return lock
