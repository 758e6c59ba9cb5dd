"""The library's notes and Python's warnings on stderr, while a command runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from wherefrom.cli.console.session import Session
from wherefrom.core.progress import NOTES


@contextmanager
def listening(session: Session, level: str) -> Iterator[None]:
    """Print each of the library's notes once, and send Python's warnings through logging.

    Warnings are shown only at the levels `info` and `debug`, because they address programmers.
    """
    handler = _Notes(session)
    warned = logging.getLogger("py.warnings")
    before, notes_before = warned.level, (NOTES.level, NOTES.propagate)
    NOTES.addHandler(handler)
    NOTES.setLevel(logging.INFO)
    NOTES.propagate = False
    warned.setLevel(logging.DEBUG if level in ("debug", "info") else logging.ERROR)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        warned.setLevel(before)
        NOTES.removeHandler(handler)
        NOTES.level, NOTES.propagate = notes_before


class _Notes(logging.Handler):
    """Notes as lines of the session, each once: a folder may be listed several times."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self.printed:
            self.printed.add(message)
            self.session.note(f"note: {message}")
