"""Notes of the library to its user: log records that no program shows unless it listens."""

from __future__ import annotations

import logging

# Records of level INFO.  The command line prints them to stderr unless `--quiet` is given.
NOTES = logging.getLogger("wherefrom.notes")


def add_note(message: str) -> None:
    """Log a note of one line, as `photos: 3 other files (2 .txt, 1 .csv) were not read`."""
    NOTES.info("%s", message)
