"""Executors: processes are killed at any point, and no finished run is lost or made twice."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from playing import (
    GAME,
    PLAYERS,
    RUNS,
    make_deadly,
    make_slow,
    make_unloadable,
    open_game,
    starts,
    value_of,
)

from wherefrom.core.errors import InputError
from wherefrom.credit.ledger.executors import run_local
from wherefrom.credit.ledger.game import members_of
from wherefrom.credit.ledger.ledger import Ledger
from wherefrom.credit.ledger.worker import machine_fault, work

EXPECTED = [value_of(members_of(run.mask, PLAYERS), run.seed) for run in RUNS]


def children_of(pid):
    """Pids of the processes that `pid` started."""
    files = Path("/proc").glob("[0-9]*/stat")
    stats = []
    for file in files:
        try:
            stats.append(file.read_text())
        except OSError:
            continue
    parents = {int(s.split(" ", 1)[0]): int(s.rsplit(")", 1)[1].split()[1]) for s in stats}
    return [child for child, parent in parents.items() if parent == pid]


def done_in(path):
    """How many runs are done, 0 if there is no ledger yet."""
    try:
        with Ledger(path, GAME, readonly=True) as ledger:
            return ledger.counts()["done"]
    except InputError:
        return 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_killed_drivers_and_workers_lose_and_repeat_nothing__identity_ledger(tmp_path):
    path, chance = tmp_path / "l.sqlite", np.random.default_rng(5)
    command = [sys.executable, str(Path(__file__).parent / "playing.py"), str(path), str(tmp_path)]
    kills = 0  # few: a run whose worker dies at every attempt is given up
    for goal in (4, 16, len(RUNS)):  # the first two drivers are killed on the way
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
            while driver.poll() is None and done_in(path) < goal:
                found = children_of(driver.pid) if goal == 16 and done_in(path) >= 8 else []
                if found and kills < 2 and chance.random() < 0.2:
                    os.kill(chance.choice(found), signal.SIGKILL)
                    kills += 1
                time.sleep(0.01)
            if goal < len(RUNS):
                driver.kill()
    with Ledger(path, GAME, readonly=True) as ledger:
        assert ledger.runs("sum").values.tolist() == EXPECTED  # as if nobody had been killed
        sql = "SELECT mask, finished FROM runs"
        finished = {int(mask, 16): when for mask, when in ledger._base.execute(sql)}
    begun = starts(tmp_path)
    assert {mask for mask, _ in begun} == set(finished)
    assert [mask for mask, when in begun if when > finished[mask]] == []


def test_a_failing_run_stops_no_other__closed_form(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        run_local(ledger, make_deadly)
        problems = {p.run.mask: p.error for p in ledger.problems()}
        assert set(problems) == {0, 1, 2, 4, 8, 16, 31}
        assert problems[31] == "its worker died 3 times (out of memory?)"
        assert problems[4] == "ValueError: one player is too few"
        assert "nan" in problems[0]
        assert len(ledger.runs("sum").values) == 25


def test_a_game_that_cannot_be_loaded__rejects_it(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:
        with pytest.raises(RuntimeError, match="no weights"):
            run_local(ledger, make_unloadable)
        assert ledger.counts()["planned"] == len(RUNS)
        with pytest.raises(InputError, match="no device"):
            run_local(ledger, make_slow, devices=())


def test_a_fault_of_the_machine_gives_the_run_back__rejects_full_disk(tmp_path):
    def play(members, seed):
        if members.sum() == 2:
            raise InputError("cannot write") from OSError(28, "No space left on device")
        return partial(make_slow, tmp_path, 0.0)("cpu")(members, seed)

    with open_game(tmp_path / "l.sqlite") as ledger:
        with pytest.raises(InputError, match="No space left"):
            work(ledger, play)
        assert ledger.counts() == {"planned": 29, "leased": 0, "done": 3, "failed": 0}
    assert machine_fault(ValueError("x")) is None


def test_a_long_run_keeps_its_lease__limit(tmp_path):
    with open_game(tmp_path / "l.sqlite") as ledger:

        def play(members, seed):
            if not members.any():
                time.sleep(0.5)
                with Ledger(ledger.path, GAME) as other:
                    assert other.claim_next(seconds=100).mask == RUNS[1].mask
            return make_slow(tmp_path, 0.0, "cpu")(members, seed)

        work(ledger, play, lease_seconds=0.2)
        assert ledger.runs("sum").values[0] == EXPECTED[0]


def test_interrupted_workers_give_their_run_back__identity_release(tmp_path):
    def play(members, seed):
        raise KeyboardInterrupt

    with open_game(tmp_path / "l.sqlite") as ledger:
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                work(ledger, play)
        assert ledger.counts()["planned"] == len(RUNS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_makes_the_same_ledger__reference_local(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    # Ray's processes find modules by the environment, not by this process's path.
    folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    from wherefrom.credit.ledger.executors import run_ray

    with open_game(tmp_path / "l.sqlite") as ledger:
        run_ray(ledger, partial(make_slow, tmp_path, 0.0), devices=("cpu", "cpu"))
        assert ledger.runs("sum").values.tolist() == EXPECTED
    with open_game(tmp_path / "deadly.sqlite") as ledger:
        run_ray(ledger, make_deadly)
        problems = {p.run.mask: p.error for p in ledger.problems()}
        assert set(problems) == {0, 1, 2, 4, 8, 16, 31}
        assert problems[31] == "its worker died 3 times (out of memory?)"
    with open_game(tmp_path / "none.sqlite") as ledger:
        with pytest.raises(RuntimeError, match="no weights"):
            run_ray(ledger, make_unloadable)
        assert ledger.counts()["planned"] == len(RUNS)
