"""The progress that every command shows.

- With --quiet: nothing.
- On a terminal: a bar for each stage with its name, share, rate and time left.
- Elsewhere: for each stage at most one line in ten seconds, with its name, share and time left.

A stage is one use of `core.progress.Track`.  Stages may contain others: an outer stage and those
inside it are then named in one line.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from wherefrom.core.paths import printable
from wherefrom.core.progress import Track, quiet

T = TypeVar("T")
Clock = Callable[[], float]  # seconds

BAR_AFTER = 0.5  # seconds: the bar of a shorter stage would only flicker
LINE_AFTER = 2.0  # seconds: there are no lines about a shorter stage
LINE_EVERY = 10.0  # seconds
# The rate is a mean over about as many seconds, or over as many items if these take longer.
SMOOTH_SECONDS, SMOOTH_ITEMS = 10.0, 5.0


def choose_track(*, silent: bool) -> Track:
    """The tracker of a command; `silent` is --quiet."""
    if silent:
        return quiet
    console = Console(stderr=True)
    # rich takes FORCE_COLOR for a terminal, and a log may be coloured.
    return Bars(console) if sys.stderr.isatty() and console.is_interactive else Lines()


def rate_text(per_second: float) -> str:
    """A rate in the unit that reads best."""
    if per_second >= 1:
        return f"{per_second:.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"
    return f"{1 / per_second:.1f} s each" if per_second > 0.1 else f"{1 / per_second:.0f} s each"


def duration_text(seconds: float) -> str:
    """A duration in the unit that reads best."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


class Bars:
    """Progress bars on a terminal; those of stages in each other share one display."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        self._display = _Display(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Share(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            get_time=clock,
        )
        self._open = 0

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
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


class _Display(Progress):
    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table([t for t in self.tasks if (t.elapsed or 0.0) >= BAR_AFTER])


class _Share(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{task.completed:.0f}")
        return Text(f"{task.percentage:3.0f} %")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate_text(task.speed) if task.speed else "")


class Lines:
    """Lines on stderr, for logs and pipes.

    Within an outermost stage at most one line is written in `LINE_EVERY` seconds, whatever goes on
    inside it.  A stage that is opened again and again counts as one.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._open: list[_Stage] = []
        self._last_line: dict[str, float] = {}  # of each outermost stage
        self._seconds: defaultdict[str, float] = defaultdict(float)  # in its earlier openings
        self._times: Counter[str] = Counter()  # how often it was opened and closed

    def __call__(self, items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
        stage = _Stage(label, total, self._clock())
        self._open.append(stage)
        try:
            for item in items:
                yield item
                now = self._clock()
                stage.advance(now)
                self._write_if_due(now)
        finally:
            if self._open[0] is stage:
                self._seconds[label] += self._clock() - stage.start
                self._times[label] += 1
            self._open.remove(stage)

    def _write_if_due(self, now: float) -> None:
        outer = self._open[0]
        if now - self._last_line.get(outer.label, -math.inf) < LINE_EVERY:
            return
        if (line := self._line(now)) is not None:
            self._last_line[outer.label] = now
            click.echo(printable(line), err=True)

    def _line(self, now: float) -> str | None:
        outer = self._open[0]
        if self._times[outer.label] and now - outer.start < LINE_AFTER:
            if self._seconds[outer.label] + now - outer.start < LINE_AFTER:
                return None
            times = self._times[outer.label]
            return f"{outer.label}, {times} times so far" if times > 1 else outer.label
        shown = [s for s in self._open if now - s.start >= LINE_AFTER and not s.complete]
        if not shown:
            return None
        *around, inner = shown
        return ": ".join([*(stage.as_outer(now) for stage in around), inner.as_inner(now)])


class _Stage:
    """One use of the tracker: how far it is, and how fast."""

    def __init__(self, label: str, total: int | None, now: float) -> None:
        self.label, self.total, self.start = label, total, now
        self.done = 0
        self._last = now
        self._items = self._time = 0.0  # discounted sums: their quotient is the smoothed rate

    def advance(self, now: float) -> None:
        """One more item is done."""
        spent = now - self._last
        discount = math.exp(-min(spent / SMOOTH_SECONDS, 1 / SMOOTH_ITEMS))
        self._items = self._items * discount + 1
        self._time = self._time * discount + spent
        self.done, self._last = self.done + 1, now

    @property
    def complete(self) -> bool:
        """Whether every item is done; never of an unknown number."""
        return self.total is not None and self.done >= self.total

    @property
    def rate(self) -> float | None:
        """Items per second; None before there is one."""
        return self._items / self._time if self._time > 0 else None

    def seconds_left(self, now: float) -> float | None:
        """None if it cannot be known."""
        if self.total is None or self.rate is None or self.complete:
            return None
        current = max(0.0, 1 / self.rate - (now - self._last))
        return current + (self.total - self.done - 1) / self.rate

    def as_inner(self, now: float) -> str:
        """What a line says of the innermost stage."""
        if self.total is None:
            rate = "" if self.rate is None else f", {rate_text(self.rate)}"
            return f"{self.label}, {self.done} so far{rate}"
        return f"{self.label} {100 * self.done // self.total} %{self._left(now)}"

    def as_outer(self, now: float) -> str:
        """What a line says of a stage around another one."""
        if self.total == 1:
            return self.label
        of = "" if self.total is None else f" of {self.total}"
        return f"{self.label}, {self.done + 1}{of}{self._left(now)}"

    def _left(self, now: float) -> str:
        seconds = self.seconds_left(now)
        return "" if seconds is None else f", about {duration_text(seconds)} left"
