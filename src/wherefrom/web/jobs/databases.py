"""The database of a history: a SQLite file of one service, or a Postgres shared by several.

The queries go through SQLAlchemy and are written once for both.  Messages show only the host and
the database of an address, never its password.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Engine,
    cast,
    create_engine,
    event,
    func,
    literal,
)
from sqlalchemy import (
    exc as errors,
)
from sqlalchemy.engine import URL, Connection, make_url

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import database_errors

NAME, LOCK = "history.sqlite", "history.lock"
CONNECTIONS = 4
ALONE = 0x77686572  # any number; it names the lock that services on one Postgres take in turn
DISK_FULL = "53100"  # Postgres' code
EXPECTED = "expected postgresql://USER:PASSWORD@HOST/DATABASE"
SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
# A server that hangs or has gone is noticed within seconds, by libpq and by the system.
PATIENCE = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "options": "-c statement_timeout=10000 -c lock_timeout=10000",
    "application_name": "wherefrom",
}


class HistoryAwayError(InputError):
    """The database of the history cannot be reached; it may come back."""

    for_clients = "the history cannot be reached; come back soon"  # without the address


class Database:
    """An open database.  Its methods may be called from several threads."""

    def __init__(self, engine: Engine, shown: str, lock: int | None = None) -> None:
        """`shown`: its name in messages; `lock`: a file that is locked while it is open."""
        self._engine, self.shown, self._lock = engine, shown, lock

    @property
    def shared(self) -> bool:
        """Whether several services may use it at once."""
        return self._engine.dialect.name == "postgresql"

    def close(self) -> None:
        """Close its connections, and release the lock."""
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)

    def now(self) -> ColumnElement[float]:
        """Seconds since 1970 by the clock that all services share."""
        if self.shared:
            return cast(func.extract("epoch", func.clock_timestamp()), Double)
        return literal(time.time())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with.  Errors: `InputError`, `ArtifactError`."""
        with self._errors(), self._engine.connect() as base:
            yield base

    @contextmanager
    def changing(self, *, alone: bool = False) -> Iterator[Connection]:
        """A transaction, undone if the block fails; `alone`: no other of that kind runs meanwhile.

        In SQLite every one runs alone.  Errors: `InputError`, `ArtifactError`.
        """
        with self._errors(), self._engine.begin() as base:
            if not self.shared:
                base.exec_driver_sql("BEGIN IMMEDIATE")
            elif alone:
                base.execute(func.pg_advisory_xact_lock(ALONE).select())
            yield base

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self.shared:
            with _postgres_errors(self.shown):
                yield
            return
        with database_errors(self.shown, self._damaged), _unwrapped():
            yield

    def _damaged(self, problem: str) -> ArtifactError:
        return ArtifactError(f"{self.shown} is damaged: {problem}")


def open_database(folder: Path, address: str | None) -> Database:
    """The Postgres at `address`, or where that is None the SQLite file of `folder`, which exists.

    An `InputError` for an address that is not understood, or a file that another service holds.
    """
    return _open_sqlite(folder) if address is None else _open_postgres(address)


def _open_sqlite(folder: Path) -> Database:
    lock = _take_lock(folder / LOCK)
    url, waits = URL.create("sqlite", database=str(folder / NAME)), {"timeout": 60}
    engine = create_engine(url, connect_args=waits, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # `changing` begins its transactions itself
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return Database(engine, show_path(folder / NAME), lock)


def _open_postgres(address: str) -> Database:
    url = _parsed(address)
    options = PATIENCE | dict(url.query)
    need("psycopg", "a history in Postgres", extra="postgres")
    engine = create_engine(
        url.set(query={}),
        connect_args=options,
        hide_parameters=True,
        pool_size=CONNECTIONS,
        pool_timeout=10,
        pool_pre_ping=True,  # a connection that died with the server is replaced
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # What was accepted is on the server's disk, whatever the server's default is.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.commit()

    return Database(engine, f"the history at {_shown(url)}")


def _parsed(address: str) -> URL:
    """The address as SQLAlchemy's; an `InputError` that repeats nothing of it but its scheme."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in SCHEMES:
        given = f"begins with {scheme[:20]}://" if separator else "has no scheme"
        raise InputError(f"the history's address {given}; {EXPECTED}")
    if rest.partition("?")[0].count("@") > 1:
        raise InputError(
            f"the history's address holds several @; {EXPECTED}, with %40 for an @ in a password"
        )
    try:
        url = make_url(f"postgresql+psycopg://{rest}")
    except (errors.ArgumentError, ValueError) as error:
        raise InputError(f"the history's address is not understood; {EXPECTED}") from error
    if not url.database:
        raise InputError(f"the history's address names no database; {EXPECTED}")
    return url


def _shown(url: URL) -> str:
    """Host, port and database of an address: nothing secret."""
    host = url.host or url.query.get("host") or "this machine"
    port = "" if url.port is None else f":{url.port}"
    return f"{host}{port}/{url.database}"


@contextmanager
def _postgres_errors(shown: str) -> Iterator[None]:
    """Postgres' errors in one line; those that may pass by themselves as `HistoryAwayError`."""
    try:
        yield
    except (errors.OperationalError, errors.InterfaceError, errors.TimeoutError) as error:
        reason = _first_line(error)
        if getattr(getattr(error, "orig", None), "sqlstate", None) == DISK_FULL:
            raise InputError(f"cannot use {shown}: {reason}; make room on its disk") from error
        raise HistoryAwayError(
            f"cannot reach {shown}: {reason}; check that Postgres runs and takes this user"
        ) from error
    except errors.DBAPIError as error:
        raise InputError(
            f"cannot use {shown}: {_first_line(error)}; check the address and the user's rights"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def _unwrapped() -> Iterator[None]:
    """SQLite's own errors instead of SQLAlchemy's."""
    try:
        yield
    except errors.DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise


def _take_lock(path: Path) -> int:
    try:
        import fcntl
    except ImportError as error:  # on Windows
        raise InputError(
            "this system cannot keep a second service out of the same SQLite file; name a "
            "--history in Postgres"
        ) from error
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with suppress(OSError):
            os.close(handle)
        if not isinstance(error, BlockingIOError):
            raise InputError(
                f"{show_path(path.parent)} lies on a file system that locks no files "
                f"({error.strerror}); name another --data, or a --history in Postgres"
            ) from error
        raise InputError(
            f"another service uses {show_path(path.parent)}; stop it, name another --data, or "
            "give both a --history in Postgres"
        ) from error
    return handle
