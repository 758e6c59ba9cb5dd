"""Transactions and one-line errors of SQLite files, and a base of what is closed after use."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from wherefrom.core.errors import ArtifactError, InputError


class Closing(ABC):
    """Base of what is closed at the end of a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    """Translate SQLite's errors: of disk and locks to `InputError`, others to `damaged(text)`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(
            f"cannot use {what}: {error}; check that the disk has room, that the folder is yours, "
            "and that nothing else keeps the file locked"
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(str(error)) from error
