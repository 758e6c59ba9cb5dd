"""Output of commands: results on stdout, progress, notes and warnings on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from wherefrom.core.paths import printable
from wherefrom.core.progress import NOTES, Track
from wherefrom.core.saving.json_text import to_json
from wherefrom.report.pages.tables import Column, Table, to_plain

if TYPE_CHECKING:
    from wherefrom.data.files.opening import SkippedFile

STYLES = {
    "made by this model": "bold cyan",
    "not made by this model": "bold",
    "cannot say": "yellow",
}


@dataclass(frozen=True)
class Session:
    """The global options of a command."""

    quiet: bool

    @cached_property
    def track(self) -> Track:
        """The tracker of the whole command, which limits how often lines are written."""
        from wherefrom.cli.console.progress import choose_track

        return choose_track(silent=self.quiet)

    def note(self, message: str) -> None:
        """One line on stderr."""
        if not self.quiet:
            click.echo(printable(message), err=True)

    def note_skipped(self, skipped: Sequence[SkippedFile]) -> None:
        """One note on the files that were left out, if any were."""
        if skipped:
            from wherefrom.report.pages.tables import left_out

            self.note(f"note: {left_out(skipped)}")


def print_json(value: Mapping[str, Any]) -> None:
    """Exactly one JSON object on stdout; a number that is NaN or infinite is `null`."""
    click.echo(to_json(value))


def print_facts(items: Sequence[tuple[str, str, str]]) -> None:
    """Names, values and remarks on stdout, never shortened."""
    facts = Table((Column(""), Column(""), Column("")), tuple(items))
    click.echo(to_plain(facts, heading=False))


def print_table(table: Table) -> None:
    """A table on stdout: boxed and folded for a terminal, plain and never shortened for a pipe."""
    if not sys.stdout.isatty():
        click.echo(to_plain(table))
        return
    grid = RichTable(header_style="bold")
    for column in table.columns:
        grid.add_column(
            column.title,
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=not column.folds,
        )
    for row in table.shown():
        grid.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(grid)


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
