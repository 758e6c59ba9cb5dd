"""The ledger: one SQLite file with all runs of a game, their state and their results.

The key of a run is SHA-256(digest of the game, mask, seed), which determines its result.  A run is
planned, then leased to a worker, then done or failed.  Every change is one transaction, and the
first result of a run is final.  So a process may be killed at any time: a recorded run is never
made again, and another one is planned again when its lease ends (at once, if its process ran on
this machine and has ended).

The file must be on a disk of the machine that writes it.  Other machines send results to it, or
have a ledger of their own that is merged.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.json_text import canonical_json, digest_json
from wherefrom.credit.ledger.file import LedgerFile
from wherefrom.credit.ledger.game import (
    Lease,
    Outcome,
    Planned,
    Problem,
    Run,
    RunTable,
    members_of,
    run_key,
    sort_out,
)
from wherefrom.credit.ledger.lease_owner import has_died, new_owner

LEASE_SECONDS = 120.0
MAX_ATTEMPTS = 3


class Ledger(LedgerFile):
    """An open ledger of one game.  Use it from the thread that opened it; close it at the end.

    `InputError` if the file's game of this name is another one (changed data or settings) or for an
    error of the disk; `ArtifactError` if the file is damaged or no ledger.
    """

    # -- planning

    def define(self, name: str, spec: Mapping[str, Any]) -> str:
        """Define the property `name`; its digest.

        Under a new `spec` (JSON values) the runs have no value yet; values under the earlier spec
        stay in the file and are not used.
        """
        digest = _property_digest(name, spec)
        with self.writing() as base:
            base.execute(
                "INSERT INTO properties VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "digest = excluded.digest, spec = excluded.spec",
                (self.digest, name, digest, canonical_json(spec)),
            )
        return digest

    def require(self, name: str, spec: Mapping[str, Any]) -> None:
        """`InputError` if the values of the property `name` were measured under another spec."""
        if self.properties().get(name, "") not in ("", _property_digest(name, spec)):
            raise InputError(
                f"the study defines the property {name!r} in another way than "
                f"{show_path(self.path)}, whose values are of the earlier definition; `wherefrom "
                "credit run` measures it again, without training"
            )

    def properties(self) -> dict[str, str]:
        """Digest by name of the properties as they are defined now."""
        with self.reading() as base:
            sql = "SELECT name, digest FROM properties WHERE game = ? ORDER BY name"
            return dict(base.execute(sql, (self.digest,)))

    def plan(self, runs: Sequence[Planned]) -> int:
        """Add runs in this order, but for those that are there; how many were added."""
        rows = []
        for mask, seed in runs:
            members_of(mask, self.game.players)  # refuses a subset of other players
            key = run_key(self.digest, mask, seed)
            rows.append((key, self.digest, f"{mask:x}", seed))
        sql = (
            "INSERT OR IGNORE INTO runs (key, game, mask, seed, place, state) "
            "VALUES (?, ?, ?, ?, ?, 'planned')"
        )
        with self.writing() as base:
            top = "SELECT coalesce(max(place) + 1, 0) FROM runs WHERE game = ?"
            start = int(base.execute(top, (self.digest,)).fetchone()[0])
            before = base.total_changes
            base.executemany(sql, ((*row, start + i) for i, row in enumerate(rows)))
            return base.total_changes - before

    def retry_failed(self) -> int:
        """Plan failed runs again and delete recorded errors of properties; how many of both."""
        with self.writing() as base:
            sql = (
                "UPDATE runs SET state = 'planned', attempts = 0, error = '' "
                "WHERE game = ? AND state = 'failed'"
            )
            runs = base.execute(sql, (self.digest,)).rowcount
            sql = (
                "DELETE FROM scores WHERE value IS NULL AND run IN "
                "(SELECT key FROM runs WHERE game = ?)"
            )
            return runs + base.execute(sql, (self.digest,)).rowcount

    def forget_deaths(self) -> None:
        """Set the attempts of open runs to 0: earlier workers may have ended by a reboot."""
        with self.writing() as base:
            sql = "UPDATE runs SET attempts = 0 WHERE game = ? AND state IN ('planned', 'leased')"
            base.execute(sql, (self.digest,))

    # -- working

    def claim_next(
        self, *, seconds: float = LEASE_SECONDS, now: float | None = None
    ) -> Lease | None:
        """Lease the first planned run for `seconds`; None if no run is planned.

        Runs whose lease has ended are planned again first, or failed after the third time.
        """
        now = time.time() if now is None else now
        owner = new_owner()
        with self.writing(durable=False) as base:
            self._recover(base, now)
            sql = (
                "UPDATE runs SET state = 'leased', owner = ?, expires = ?, started = ?, "
                "attempts = attempts + 1 WHERE key = (SELECT key FROM runs "
                "WHERE game = ? AND state = 'planned' ORDER BY place, key LIMIT 1) "
                "RETURNING key, mask, seed"
            )
            row = base.execute(sql, (owner, now + seconds, now, self.digest)).fetchone()
        return None if row is None else Lease(row[0], int(row[1], 16), row[2], owner)

    def renew(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> bool:
        """Extend a lease; False if it has ended and the run is another's."""
        with self.writing(durable=False) as base:
            sql = "UPDATE runs SET expires = ? WHERE key = ? AND owner = ? AND state = 'leased'"
            values = (time.time() + seconds, lease.key, lease.owner)
            return base.execute(sql, values).rowcount > 0

    def release(self, lease: Lease) -> None:
        """End a lease without a result; the attempt does not count."""
        with self.writing() as base:
            base.execute(
                "UPDATE runs SET state = 'planned', owner = NULL, expires = NULL, "
                "attempts = attempts - 1 WHERE key = ? AND owner = ? AND state = 'leased'",
                (lease.key, lease.owner),
            )

    def lost(self, lease: Lease) -> None:
        """End the lease of a worker that died: the run is planned again, the third time failed."""
        with self.writing() as base:
            sql = "SELECT attempts FROM runs WHERE key = ? AND owner = ? AND state = 'leased'"
            row = base.execute(sql, (lease.key, lease.owner)).fetchone()
            if row is not None:
                _give_up_or_retry(base, lease.key, row[0])

    def recover(self) -> None:
        """Plan runs again whose lease or process has ended."""
        with self.writing(durable=False) as base:
            self._recover(base, time.time())

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """Record the outcome of a run; False, and no change, if it was done before.

        A value that is not finite is recorded as that property's error.  A run without any value
        and without saved output has failed.
        """
        values, errors = sort_out(outcome)
        if not values and not outcome.rescorable:
            text = "; ".join(f"{name}: {error}" for name, error in sorted(errors.items()))
            return self.fail(lease, text or "the run gave no value", detail=outcome.detail)
        with self.writing() as base:
            sql = (
                "UPDATE runs SET state = 'done', owner = NULL, expires = NULL, finished = ?, "
                "error = '', detail = ? WHERE key = ? AND state <> 'done'"
            )
            now = time.time()
            if not base.execute(sql, (now, canonical_json(outcome.detail), lease.key)).rowcount:
                return False
            self._put_scores(base, lease.key, values, errors, now)
        return True

    def fail(self, lease: Lease, error: str, *, detail: Mapping[str, Any] | None = None) -> bool:
        """Record that a run failed; False if it is no longer this lease's."""
        with self.writing() as base:
            sql = (
                "UPDATE runs SET state = 'failed', owner = NULL, expires = NULL, finished = ?, "
                "error = ?, detail = ? WHERE key = ? AND owner = ? AND state = 'leased'"
            )
            values = (time.time(), error, canonical_json(detail or {}), lease.key, lease.owner)
            return base.execute(sql, values).rowcount > 0

    def score(self, key: str, outcome: Outcome) -> None:
        """Add values of properties to a run that is done; recorded values stay."""
        values, errors = sort_out(outcome)
        with self.writing() as base:
            self._put_scores(base, key, values, errors, time.time())

    # -- reading

    def runs(self, name: str) -> RunTable:
        """The done runs that have a value of the property, in the order of planning."""
        sql = (
            "SELECT mask, value, seed FROM runs JOIN scores ON run = key "
            "WHERE game = ? AND state = 'done' AND property = ? AND value IS NOT NULL "
            "ORDER BY place, key"
        )
        digest = self._digest_of(name)
        with self.reading() as base:
            rows = base.execute(sql, (self.digest, digest)).fetchall()
        masks = np.zeros((len(rows), self.game.players), dtype=bool)
        for row, (mask, _, _) in zip(masks, rows, strict=True):
            row[:] = members_of(int(mask, 16), self.game.players)
        values = np.array([value for _, value, _ in rows], dtype=np.float64)
        return RunTable(masks, values, np.array([seed for *_, seed in rows], dtype=np.int64))

    def all_runs(self) -> list[Run]:
        """Every run with its values, in the order of planning."""
        return [run for _, run, _ in self.details()]

    def details(self) -> list[tuple[str, Run, dict[str, Any]]]:
        """(key, run with its values, detail) of every run in the order of planning."""
        with self.reading() as base:
            values: dict[str, dict[str, float]] = {}
            sql = (
                "SELECT run, p.name, value FROM properties p JOIN scores s ON p.digest = s.property"
                " WHERE p.game = ? AND value IS NOT NULL ORDER BY p.name"
            )
            for key, name, value in base.execute(sql, (self.digest,)):
                values.setdefault(key, {})[name] = value
            sql = (
                "SELECT key, mask, seed, state, detail FROM runs WHERE game = ? ORDER BY place, key"
            )
            rows = base.execute(sql, (self.digest,)).fetchall()
        return [
            (key, Run(int(mask, 16), seed, values.get(key, {}), state), json.loads(detail))
            for key, mask, seed, state, detail in rows
        ]

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        sql = "SELECT state, count(*) FROM runs WHERE game = ? GROUP BY state"
        with self.reading() as base:
            counts = dict(base.execute(sql, (self.digest,)))
        return {state: counts.get(state, 0) for state in ("planned", "leased", "done", "failed")}

    def open_runs(self) -> int:
        """How many runs are planned or leased."""
        counts = self.counts()
        return counts["planned"] + counts["leased"]

    def problems(self) -> list[Problem]:
        """Every recorded failure of a run, or of a property under its present definition."""
        runs = {key: run for key, run, _ in self.details()}
        failed = "SELECT key, 'run', error FROM runs WHERE game = ? AND state = 'failed'"
        unscored = (
            "SELECT run, p.name, s.error FROM scores s JOIN properties p ON p.digest = s.property "
            "WHERE p.game = ? AND s.value IS NULL"
        )
        with self.reading() as base:
            rows = base.execute(f"{failed} UNION ALL {unscored}", (self.digest, self.digest))
            failures = rows.fetchall()
        return [Problem(runs[key], what, error) for key, what, error in failures if key in runs]

    def unscored(self, name: str) -> list[str]:
        """Keys of done runs that have neither a value nor an error of the property."""
        sql = (
            "SELECT key FROM runs WHERE game = ? AND state = 'done' AND NOT EXISTS "
            "(SELECT 1 FROM scores WHERE run = key AND property = ?) ORDER BY place, key"
        )
        digest = self._digest_of(name)
        with self.reading() as base:
            return [key for (key,) in base.execute(sql, (self.digest, digest))]

    # -- inside

    def _recover(self, base: sqlite3.Connection, now: float) -> None:
        sql = "SELECT key, owner, expires, attempts FROM runs WHERE game = ? AND state = 'leased'"
        for key, owner, expires, attempts in base.execute(sql, (self.digest,)).fetchall():
            if expires >= now and not has_died(owner):
                continue
            _give_up_or_retry(base, key, attempts)

    def _put_scores(
        self,
        base: sqlite3.Connection,
        key: str,
        values: Mapping[str, float],
        errors: Mapping[str, str],
        now: float,
    ) -> None:
        sql = "SELECT name, digest FROM properties WHERE game = ?"
        known = dict(base.execute(sql, (self.digest,)))
        entries: dict[str, tuple[float | None, str]] = {k: (v, "") for k, v in values.items()}
        entries |= {name: (None, error) for name, error in errors.items()}
        for name, (value, error) in entries.items():
            if name not in known:
                raise _unknown(self.path, name, known)
            sql = "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?)"
            base.execute(sql, (key, known[name], value, error, now))

    def _digest_of(self, name: str) -> str:
        known = self.properties()
        if name not in known:
            raise _unknown(self.path, name, known)
        return known[name]


def _property_digest(name: str, spec: Mapping[str, Any]) -> str:
    return digest_json({"name": name, "spec": dict(spec)})


def _give_up_or_retry(base: sqlite3.Connection, key: str, attempts: int) -> None:
    if attempts < MAX_ATTEMPTS:
        base.execute("UPDATE runs SET state = 'planned', owner = NULL WHERE key = ?", (key,))
        return
    error = f"its worker died {attempts} times (out of memory?)"
    sql = "UPDATE runs SET state = 'failed', owner = NULL, finished = ?, error = ? WHERE key = ?"
    base.execute(sql, (time.time(), error, key))


def _unknown(path: Path, name: str, known: Mapping[str, str]) -> InputError:
    names = ", ".join(sorted(known)) or "none"
    return InputError(f"{show_path(path)} has no property {name!r}; it has {names}")
