"""Games for the tests of the ledger, light enough for processes that are killed."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from wherefrom.credit.ledger.executors import run_local
from wherefrom.credit.ledger.game import GameIdentity, Outcome, Planned
from wherefrom.credit.ledger.ledger import Ledger

PLAYERS = 5
GAME = GameIdentity("toy", PLAYERS, {"data": {"a": "1", "b": "2"}, "steps": 3})
RUNS = [Planned(mask, 7 + mask % 3) for mask in range(2**PLAYERS)]


def value_of(members, seed):
    """A number that depends on every player and on the seed."""
    return float(np.sqrt(np.arange(2, 2 + PLAYERS))[members].sum() + 1e-3 * seed)


def open_game(path, **options):
    """The ledger of the toy game with its property `sum` and all its runs planned."""
    ledger = Ledger(path, GAME, **options)
    ledger.define("sum", {})
    ledger.plan(RUNS)
    return ledger


def play_slowly(log, seconds, members, seed):
    """Write down when a run begins and ends, in a file of its own per process."""
    mask = sum(1 << i for i, member in enumerate(members) if member)
    with Path(log, f"{os.getpid()}.log").open("a") as file:
        print(mask, time.time(), file=file, flush=True)
        time.sleep(seconds)
    return Outcome({"sum": value_of(members, seed)})


def make_slow(log, seconds, device):
    """The game of `play_slowly` as an executor wants it."""
    assert device == "cpu"
    return partial(play_slowly, log, seconds)


def make_deadly(_device):
    """A game in which one subset kills its worker, and others raise, give NaN or a value."""

    def play(members, seed):
        if members.all():
            os._exit(9)
        if members.sum() == 1:
            raise ValueError("one player\nis too few")
        return Outcome({"sum": float("nan") if not members.any() else value_of(members, seed)})

    return play


def make_unloadable(_device):
    """A game that cannot be loaded."""
    raise ValueError("no weights")


def starts(log):
    """(mask, time) of every run that was begun."""
    text = "".join(file.read_text() for file in Path(log).glob("*.log"))
    return [(int(mask), float(when)) for mask, when in map(str.split, text.splitlines())]


if __name__ == "__main__":
    with open_game(Path(sys.argv[1])) as opened:
        run_local(opened, partial(make_slow, sys.argv[2], 0.02), devices=("cpu", "cpu"))
