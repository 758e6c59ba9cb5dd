"""What a command shows while it works: on a terminal, in a log, with --quiet."""

import io
import math
import os
import pty
import subprocess
import sys
from itertools import pairwise

import pytest
from rich.console import Console

from wherefrom.cli.console import progress
from wherefrom.cli.console.progress import (
    SMOOTH_ITEMS,
    SMOOTH_SECONDS,
    Bars,
    Lines,
    choose_track,
    duration_text,
    rate_text,
)
from wherefrom.cli.console.session import Session
from wherefrom.core.progress import quiet


class Clock:
    """Time that passes only by `sleep`."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def no_lines_of_progress():
    """Here there are lines: the clock is the test's."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock):
    return Lines(clock=clock)


def written(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def run_stage(track, clock, label, count, each, *, total=True):
    for _ in track(range(count), label, total=count if total else None):
        clock.sleep(each)


def test_a_long_stage_has_a_line_in_ten_seconds__closed_form(lines, clock, capsys):
    run_stage(lines, clock, "scoring images", 50, 0.5)
    assert written(capsys) == [
        "scoring images 8 %, about 23 s left",
        "scoring images 48 %, about 13 s left",
        "scoring images 88 %, about 3 s left",
    ]


def test_a_stage_under_two_seconds_has_no_line__limit(lines, clock, capsys):
    run_stage(lines, clock, "scoring images", 19, 0.1)
    assert written(capsys) == []
    run_stage(lines, clock, "reading images", 22, 0.1)
    assert written(capsys) == ["reading images 90 %, about 1 s left"]


def test_a_finished_stage_has_no_line__limit(lines, clock, capsys):
    run_stage(lines, clock, "scoring images", 1, 60)
    assert written(capsys) == []


def test_each_stage_has_a_limit_of_its_own__closed_form(lines, clock, capsys):
    for label in ("reading images", "scoring images"):
        run_stage(lines, clock, label, 4, 1)
    assert [line.split()[0] for line in written(capsys)] == ["reading", "scoring"]


def test_quick_stages_in_a_loop_count_as_one__naive_loop(lines, clock, capsys):
    began, times = clock.now, []
    for number in range(200):
        run_stage(lines, clock, "encoding images", 3, 0.125)
        if line := written(capsys):
            assert line == [f"encoding images, {number} times so far"]
            times.append(clock.now - began)
    assert times[0] == pytest.approx(2, abs=0.375)
    assert [round(after - before) for before, after in pairwise(times)] == [10] * 7


def test_stages_inside_a_stage_are_named_in_one_line__closed_form(lines, clock, capsys):
    for _ in lines(range(3), "fitting models", total=3):
        run_stage(lines, clock, "reading images", 3, 0.5)
        run_stage(lines, clock, "inverting", 10, 2)
    assert written(capsys) == [
        "fitting models, 1 of 3: inverting 10 %, about 18 s left",
        "fitting models, 1 of 3: inverting 60 %, about 8 s left",
        "fitting models, 2 of 3, about 40 s left: inverting 10 %, about 18 s left",
        "fitting models, 2 of 3, about 30 s left: inverting 60 %, about 8 s left",
        "fitting models, 3 of 3, about 18 s left: inverting 10 %, about 18 s left",
        "fitting models, 3 of 3, about 8 s left: inverting 60 %, about 8 s left",
    ]


def test_a_stage_around_one_item_is_only_named__closed_form(lines, clock, capsys):
    for _ in lines(["mine"], "fitting mine.attributor", total=1):
        run_stage(lines, clock, "inverting", 10, 2)
    assert written(capsys)[0] == "fitting mine.attributor: inverting 10 %, about 18 s left"


def test_a_stage_of_unknown_length_has_count_and_rate__closed_form(lines, clock, capsys):
    run_stage(lines, clock, "making runs", 5, 4, total=False)
    run_stage(lines, clock, "sampling", 100, 0.25, total=False)
    assert written(capsys) == [
        "making runs, 1 so far, 4.0 s each",
        "making runs, 4 so far, 4.0 s each",
        "sampling, 8 so far, 4.0/s",
        "sampling, 48 so far, 4.0/s",
        "sampling, 88 so far, 4.0/s",
    ]


def test_the_time_left_follows_a_change_of_pace__limit(lines, clock, capsys):
    seconds = [0.1] * 100 + [1.0] * 100
    for each in lines(seconds, "scoring images", total=200):
        clock.sleep(each)
    left = [int(line.split("about ")[1].split()[0]) for line in written(capsys)]
    # Items and seconds are integrals, discounted by exp(-age / SMOOTH_SECONDS); 110 s in all.
    first = 1 - math.exp(-10 / SMOOTH_SECONDS)
    for time, guess in zip(range(12, 103, 10), left[1:], strict=True):
        weight = math.exp(-(time - 10) / SMOOTH_SECONDS)
        items, seconds = (weight * first * pace + 1 - weight for pace in (10, 1))
        assert guess == pytest.approx((110 - time) * seconds / items, rel=0.1, abs=1)
    assert guess == 8


def test_a_rate_is_over_several_items_however_long__closed_form(clock):
    stage = progress._Stage("fitting", 101, clock.now)
    for number in range(100):
        clock.sleep(1000 if number % 2 else 3000)
        stage.advance(clock.now)
    # A mean over the last item alone would be 1000, over all of them 2000.
    step = math.exp(-1 / SMOOTH_ITEMS)
    assert 1 / stage.rate == pytest.approx((1000 + 3000 * step) / (1 + step))


def test_an_item_that_takes_longer_than_others_has_a_lower_limit__limit(clock):
    stage = progress._Stage("fitting", 3, clock.now)
    clock.sleep(10)
    stage.advance(clock.now)
    assert stage.seconds_left(clock.now) == pytest.approx(20)
    assert stage.seconds_left(clock.now + 8) == pytest.approx(12)
    assert stage.seconds_left(clock.now + 60) == pytest.approx(10)


@pytest.mark.parametrize("ending", ["exception", "break", "close"])
def test_a_stage_that_ends_early_is_forgotten__closed_form(lines, clock, capsys, ending):
    def broken():
        for number in lines(range(100), "scoring images", total=100):
            if number == 3 and ending == "exception":
                raise ValueError
            if number == 3 and ending == "break":
                return
            yield

    items = broken()
    if ending == "exception":
        with pytest.raises(ValueError):
            list(items)
    elif ending == "close":
        next(items)
        items.close()
    else:
        list(items)
    del items
    assert lines._open == []
    run_stage(lines, clock, "reading images", 4, 1)
    assert written(capsys) == ["reading images 50 %, about 2 s left"]


def test_control_characters_in_a_label_are_written_out__closed_form(lines, clock, capsys):
    run_stage(lines, clock, "comparing \x07", 4, 1)
    assert "\x07" not in written(capsys)[0]


def test_lines_yield_the_items_one_at_a_time__identity_items(lines):
    drawn = []
    items = lines((drawn.append(i) or i for i in range(5)), "scoring")
    assert drawn == []
    assert next(items) == 0
    assert drawn == [0]
    assert list(items) == [1, 2, 3, 4]


@pytest.fixture
def bars(clock):
    return Bars(Console(file=io.StringIO(), force_terminal=True), clock=clock)


def shown(bars):
    """The words of each bar that the terminal shows now."""
    page = Console(file=io.StringIO(), width=80)
    for renderable in bars._display.get_renderables():
        page.print(renderable, end="")
    return [line.split() for line in page.file.getvalue().splitlines()]


def test_a_bar_has_stage_share_rate_and_time_left__closed_form(bars, clock):
    for number in bars(range(5), "scoring images", total=5):
        clock.sleep(4)
        if number == 2:
            (line,) = shown(bars)
            assert line[:2] == ["scoring", "images"]
            assert line[-6:] == ["40", "%", "4.0", "s", "each", "0:00:12"]


def test_bars_yield_everything_and_share_one_display__naive_loop(bars, clock):
    pairs = []
    for a in bars([1, 2], "[red]outer"):
        for b in bars("xy", "inner", total=2):
            clock.sleep(1)
            assert [line[0] for line in shown(bars)] == ["[red]outer", "inner"]
            pairs.append((a, b))
    assert pairs == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert bars._open == 0
    assert bars._display.tasks == []


def test_quick_stages_have_no_bar__limit(bars, clock):
    for _ in bars(range(10), "scoring images", total=10):
        assert shown(bars) == []
        clock.sleep(0.04)


def test_quiet_and_the_kind_of_stderr_decide__closed_form(monkeypatch):
    assert choose_track(silent=True) is quiet
    assert isinstance(choose_track(silent=False), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(choose_track(silent=False), Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_track(silent=False), Bars)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_track(silent=False), Lines)
    assert choose_track(silent=True) is quiet


def test_a_command_has_one_tracker__closed_form():
    session = Session(quiet=False)
    assert session.track is session.track


def on_terminal(code):
    """What a program writes to stderr that is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    ended = subprocess.run(
        [sys.executable, "-c", code], stderr=theirs, env=environment, check=False
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    return ended.returncode, text.decode()


def test_an_error_leaves_the_cursor_visible__closed_form():
    code = (
        "import click, time\n"
        "from wherefrom.cli.console.session import Session\n"
        "@click.command()\n"
        "def boom():\n"
        "    for x in Session(quiet=False).track(range(9), 'inverting', total=9):\n"
        "        time.sleep(0.7)\n"
        "        if x: raise ValueError('no luck')\n"
        "boom([])\n"
    )
    code, text = on_terminal(code)
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert code == 1
    assert "inverting" in text
    assert "11 %" in text
    assert "no luck" in text
    assert text.count(hide) >= 1
    assert text.rindex(show) > text.rindex(hide)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (2e5, "2.3 days"),
    ],
)
def test_durations_in_the_unit_that_reads_best__closed_form(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(12345, "12,345/s"), (9.94, "9.9/s"), (1, "1.0/s"), (0.5, "2.0 s each"), (0.01, "100 s each")],
)
def test_rates_in_the_unit_that_reads_best__closed_form(rate, text):
    assert rate_text(rate) == text
