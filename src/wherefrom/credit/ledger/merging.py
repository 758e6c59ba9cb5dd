"""Merging ledgers of one game: the union of their runs, independent of the order of merging.

If two ledgers have a result of the same run, the one recorded first is used; they differ only if
the machines compute differently.  So merging is commutative, associative and idempotent.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherefrom.credit.ledger.ledger import Ledger

SETTLED = {"done": 2, "failed": 1, "leased": 0, "planned": 0}


@dataclass(frozen=True)
class Merged:
    """What a ledger took over from another one.

    `runs`: runs that were unknown here; `settled`: results of runs that were open here; `scores`:
    values.  `disagreements`, `largest`: values that both have and that differ, and the largest
    difference.  `redefined`: properties with another definition there; the definition here stays,
    and the values measured there are stored under theirs.
    """

    runs: int
    settled: int
    scores: int
    disagreements: int
    largest: float
    redefined: tuple[str, ...]

    def remarks(self) -> list[str]:
        """What was taken over, and where the ledgers disagree, in sentences."""
        lines = [
            f"{self.runs} runs new, {self.settled} finished that were open here, "
            f"{self.scores} values"
        ]
        if self.disagreements:
            lines.append(
                f"{self.disagreements} values differ from those here, by up to {self.largest:.3g}; "
                "the value recorded first is used"
            )
        return lines + [
            f"{name} is defined in another way there; its definition here is used"
            for name in self.redefined
        ]


def merge_ledger(ledger: Ledger, other: Path) -> Merged:
    """Take over the runs of this ledger's game from the file `other`, in one transaction.

    Runs leased there are planned here, so no worker should use `other`.  `InputError` if it does
    not hold this game.
    """
    with (
        Ledger(other, ledger.game, readonly=True) as source,
        source.reading() as theirs,
        ledger.writing() as ours,
    ):
        redefined = _take_properties(ours, theirs, ledger.digest)
        runs, settled = _take_runs(ours, theirs, ledger.digest)
        scores, gaps = _take_scores(ours, theirs, ledger.digest)
    return Merged(runs, settled, scores, len(gaps), max(gaps, default=0.0), redefined)


def _take_properties(
    ours: sqlite3.Connection, theirs: sqlite3.Connection, game: str
) -> tuple[str, ...]:
    sql = "SELECT name, digest FROM properties WHERE game = ?"
    known = dict(ours.execute(sql, (game,)))
    redefined = []
    for row in theirs.execute("SELECT * FROM properties WHERE game = ?", (game,)):
        _, name, digest, _ = row
        if name not in known:
            ours.execute("INSERT INTO properties VALUES (?, ?, ?, ?)", row)
        elif known[name] != digest:
            redefined.append(name)
    return tuple(sorted(redefined))


def _take_runs(ours: sqlite3.Connection, theirs: sqlite3.Connection, game: str) -> tuple[int, int]:
    columns = "key, mask, seed, place, state, attempts, started, finished, error, detail"
    sql = f"SELECT {columns} FROM runs WHERE game = ?"  # noqa: S608 (fixed names)
    known = {row[0]: row for row in ours.execute(sql, (game,))}
    new = settled = 0
    for row in theirs.execute(sql, (game,)):
        key, mask, seed, place, state, *result = row
        state = state if SETTLED[state] else "planned"
        if key not in known:
            place_holders = ", ".join("?" * 11)
            ours.execute(
                f"INSERT INTO runs (game, {columns}) VALUES ({place_holders})",  # noqa: S608
                (game, key, mask, seed, place, state, *result),
            )
            new += 1
            continue
        if place < known[key][3]:
            ours.execute("UPDATE runs SET place = ? WHERE key = ?", (place, key))
        if _stands_before(row, known[key]):
            ours.execute(
                "UPDATE runs SET state = ?, attempts = ?, started = ?, finished = ?, error = ?, "
                "detail = ?, owner = NULL, expires = NULL WHERE key = ?",
                (state, *result, key),
            )
            settled += SETTLED[state] > SETTLED[known[key][4]]
    return new, settled


def _stands_before(row: tuple[Any, ...], known: tuple[Any, ...]) -> bool:
    """Whether the other ledger's result replaces ours: done before failed, then the earlier."""
    theirs, ours = SETTLED[row[4]], SETTLED[known[4]]
    if theirs != ours or not theirs:
        return theirs > ours
    return bool((row[7], row[9]) < (known[7], known[9]))


def _take_scores(
    ours: sqlite3.Connection, theirs: sqlite3.Connection, game: str
) -> tuple[int, list[float]]:
    sql = (
        "SELECT run, property, value, error, scored FROM scores WHERE run IN "
        "(SELECT key FROM runs WHERE game = ?)"
    )
    known = {row[:2]: row for row in ours.execute(sql, (game,))}
    new, gaps = 0, []
    for row in theirs.execute(sql, (game,)):
        mine = known.get(row[:2])
        if mine is None or _measured_before(row, mine):
            ours.execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", row)
        new += mine is None
        if mine is not None and None not in (mine[2], row[2]) and mine[2] != row[2]:
            gaps.append(abs(mine[2] - row[2]))
    return new, gaps


def _measured_before(row: tuple[Any, ...], mine: tuple[Any, ...]) -> bool:
    if (row[2] is None) != (mine[2] is None):
        return mine[2] is None
    return bool((row[4], row[2] or 0.0) < (mine[4], mine[2] or 0.0))
