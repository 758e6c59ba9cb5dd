"""The SQLite file of a ledger: its tables, its transactions, and its errors in one line.

A write-ahead log is used while workers write: several commit at once, and each commit waits for the
disk only once.  Closing folds the log back, so that a ledger not in use is one file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import Closing, database_errors, transaction
from wherefrom.core.saving.json_text import canonical_json
from wherefrom.credit.ledger.game import GameIdentity, changed_names

SCHEMA = 1
APPLICATION_ID = 0x57464C47  # "WFLG"; another program's database has another one
WAIT_SECONDS = 30.0
TABLES = """
CREATE TABLE games (
  digest TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, players INTEGER NOT NULL, spec TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE properties (
  game TEXT NOT NULL REFERENCES games (digest), name TEXT NOT NULL,
  digest TEXT NOT NULL, spec TEXT NOT NULL, PRIMARY KEY (game, name)
) WITHOUT ROWID;
-- A mask is hexadecimal text: there may be more players than an integer of SQLite has bits.
CREATE TABLE runs (
  key TEXT PRIMARY KEY, game TEXT NOT NULL REFERENCES games (digest),
  mask TEXT NOT NULL, seed INTEGER NOT NULL, place INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planned', 'leased', 'done', 'failed')),
  attempts INTEGER NOT NULL DEFAULT 0, owner TEXT, expires REAL, started REAL,
  finished REAL, error TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX queue ON runs (game, state, place, key);
CREATE TABLE scores (
  run TEXT NOT NULL REFERENCES runs (key), property TEXT NOT NULL,
  value REAL, error TEXT NOT NULL DEFAULT '', scored REAL NOT NULL,
  PRIMARY KEY (run, property), CHECK ((value IS NULL) = (error <> ''))
) WITHOUT ROWID;
"""


class LedgerFile(Closing):
    """An open ledger file of one game.  Use it from the thread that opened it."""

    def __init__(
        self, path: Path, game: GameIdentity, *, readonly: bool = False, fold: bool = True
    ) -> None:
        """Open or create the file; a worker passes `fold=False`, its parent folds the log."""
        self.path, self.game, self.digest = path, game, game.digest
        self._readonly, self._fold = readonly, fold and not readonly
        with self._errors():
            self._base = _connect(path, readonly=readonly)
        try:
            with self._errors():
                self._open(readonly)
        except BaseException:
            self._base.close()
            raise

    def close(self) -> None:
        """Close the file; fold the log back into it if no other process has it open."""
        if self._fold:
            with suppress(sqlite3.Error):
                self._base.execute("PRAGMA busy_timeout = 0")
                self._base.execute("PRAGMA journal_mode = DELETE")
        self._base.close()

    def _open(self, readonly: bool) -> None:
        if not readonly:
            self._use_log()
            self._base.execute("PRAGMA foreign_keys = ON")
        with self._transaction("BEGIN" if readonly else "BEGIN IMMEDIATE", durable=True) as base:
            application = base.execute("PRAGMA application_id").fetchone()[0]
            tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not application and not tables:
                if readonly:  # another process is just creating it
                    raise InputError(f"{show_path(self.path)} is empty; run the study first")
                for statement in TABLES.split(";"):
                    base.execute(statement)
                base.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                base.execute(f"PRAGMA user_version = {SCHEMA}")
            else:
                self._refuse_others(application)
            self._refuse_other_game(base)
            if not readonly:
                row = (
                    self.digest,
                    self.game.name,
                    self.game.players,
                    canonical_json(self.game.spec),
                )
                base.execute("INSERT OR IGNORE INTO games VALUES (?, ?, ?, ?)", row)

    def _use_log(self) -> None:
        # This change does not wait for processes that open or close the file at the moment.
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._base.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(0.02)

    def _refuse_others(self, application: int) -> None:
        if application != APPLICATION_ID:
            raise ArtifactError(f"{show_path(self.path)} is not a ledger; choose another file")
        schema = self._base.execute("PRAGMA user_version").fetchone()[0]
        if schema != SCHEMA:
            raise ArtifactError(
                f"{show_path(self.path)} is a ledger of format {schema}, this version reads "
                f"{SCHEMA}; use the wherefrom that wrote it"
            )

    def _refuse_other_game(self, base: sqlite3.Connection) -> None:
        sql = "SELECT digest, name, players, spec FROM games WHERE name = ? OR digest = ?"
        rows = base.execute(sql, (self.game.name, self.digest)).fetchall()
        for digest, name, players, spec in rows:
            if digest != self.digest:
                changed = changed_names(json.loads(spec), dict(self.game.spec))
                if players != self.game.players:
                    changed = [f"{players} contributors there, {self.game.players} now", *changed]
                raise InputError(
                    f"{show_path(self.path)} holds runs of another game {self.game.name!r} "
                    f"(changed: {', '.join(changed)}); its runs cannot be mixed with new ones: "
                    "undo the change, or name another ledger"
                )
            if name != self.game.name:
                raise InputError(
                    f"{show_path(self.path)} holds this game under the name {name!r}; use it"
                )
        if not rows and self._readonly:
            raise InputError(
                f"{show_path(self.path)} holds no run of the game {self.game.name!r}; run it first"
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which all reads see one state of the file."""
        with self._errors(), self._transaction("BEGIN", durable=True) as base:
            yield base

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction, undone if the block fails.  `durable`: it survives a power cut."""
        with self._errors(), self._transaction("BEGIN IMMEDIATE", durable=durable) as base:
            yield base

    def _transaction(
        self, begin: str, *, durable: bool
    ) -> AbstractContextManager[sqlite3.Connection]:
        # Losing a lease in a power cut costs nothing, so leases do not wait for the disk.
        self._base.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        return transaction(self._base, begin)

    def _errors(self) -> AbstractContextManager[None]:
        return database_errors(f"the ledger {show_path(self.path)}", self._damage)

    def _damage(self, problem: str) -> ArtifactError:
        return ArtifactError(
            f"the ledger {show_path(self.path)} is damaged ({problem}); restore it from a copy"
        )


def refuse_other_data(path: Path, game: str, digests: Mapping[str, str]) -> None:
    """`InputError` if the file holds runs of the game `game` on data of other `digests`.

    Called before anything is trained.  Other faults of the file are reported when it is opened.
    """
    known: list[tuple[str]] = []
    with suppress(InputError, sqlite3.Error), closing(_connect(path, readonly=True)) as base:
        known = base.execute("SELECT spec FROM games WHERE name = ?", (game,)).fetchall()
    for (spec,) in known:
        changed = changed_names(json.loads(spec).get("data", {}), digests)
        if changed:
            raise InputError(
                f"{show_path(path)} holds runs on other data (changed: {', '.join(changed)}); they "
                "cannot be mixed with new ones: undo the change, or give [study] another ledger "
                "and another work folder"
            )


def _connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    # A URI, so that reading creates no file.  Transactions are begun and ended explicitly.
    if readonly and not path.is_file():
        raise InputError(f"{show_path(path)}: there is no such ledger; run the study first")
    mode = "ro" if readonly else "rwc"
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
