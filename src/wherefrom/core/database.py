"""What every SQLite file of the project shares: transactions, and errors in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wherefrom.core.errors import ArtifactError, InputError


@contextmanager
def transaction(base: sqlite3.Connection, begin: str) -> Iterator[sqlite3.Connection]:
    """A transaction started by `begin`; undone if the block fails."""
    base.execute(begin)
    try:
        yield base
        base.execute("COMMIT")
    finally:
        if base.in_transaction:
            base.execute("ROLLBACK")


@contextmanager
def database_errors(what: str, damaged: Callable[[str], ArtifactError]) -> Iterator[None]:
    """SQLite's errors in one line: the disk's and the lock's as input, the rest as damage."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(
            f"cannot use {what}: {error}; check that the disk has room, that the folder is yours, "
            "and that nothing else keeps the file locked"
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(str(error)) from error
