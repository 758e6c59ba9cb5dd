"""Remarks of the library that change no result: silent unless a program listens."""

from __future__ import annotations

import logging

# Records of level INFO.  The command line prints them to stderr unless `--quiet` is given.
NOTES = logging.getLogger("wherefrom.notes")


def add_note(message: str) -> None:
    """One remark of one line, as `photos: 3 other files (2 .txt, 1 .csv) were not read`."""
    NOTES.info("%s", message)
