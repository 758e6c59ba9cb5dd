"""What a command may show: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from wherefrom.core.progress import Track, quiet
from wherefrom.report.tables import Column, Table, to_plain
from wherefrom.report.text import printable

T = TypeVar("T")

STYLES = {
    "made by this model": "bold cyan",
    "not made by this model": "bold",
    "cannot say": "yellow",
}


@dataclass(frozen=True)
class Session:
    """The global options, as a command needs them."""

    quiet: bool

    @property
    def track(self) -> Track:
        """A progress bar if somebody is there to see it, else a line now and then."""
        if self.quiet:
            return quiet
        return Bars() if sys.stderr.isatty() else Lines()

    def note(self, message: str) -> None:
        """One line on stderr."""
        if not self.quiet:
            click.echo(printable(message), err=True)


class Bars:
    """Progress bars on stderr; bars inside bars share one display, and it vanishes at the end."""

    def __init__(self) -> None:
        self._display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._open = 0

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        """`core.progress.Track`."""
        if self._open == 0:
            self._display.start()
        self._open += 1
        task = self._display.add_task(label, total=total)
        try:
            for item in items:
                yield item
                self._display.advance(task)
        finally:
            self._display.remove_task(task)
            self._open -= 1
            if self._open == 0:
                self._display.stop()


class Lines:
    """For logs: a line on stderr about work that takes long, at most one in `every` seconds."""

    def __init__(self, every: float = 30.0) -> None:
        self._every = every
        self._last = time.monotonic()

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        """`core.progress.Track`."""
        for done, item in enumerate(items):
            yield item
            now = time.monotonic()
            if now - self._last >= self._every:
                self._last = now
                of = "" if total is None else f" of {total}"
                click.echo(printable(f"{label}: {done + 1}{of}"), err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Exactly one JSON object on stdout."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


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
