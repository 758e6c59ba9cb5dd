"""A run of one subset of contributors, its lease and outcome; tables and designs of runs.

The players of the game are the contributors, numbered 0 to n - 1.  In computations a subset is a
boolean row (n,); as a name, in the ledger, it is an int with bit i for player i, its mask.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError
from wherefrom.core.saving.json_text import digest_json

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


MAX_ENUMERATED = 16  # contributors in a design of all 2^n subsets
MAX_PLAYERS = 4096  # the covariance of the shares has n^2 entries; factorising it takes n^3 steps


class Planned(NamedTuple):
    """One run to be made: the subset's mask, and the seed of its training.

    A subset and its complement share one seed, so that their difference does not depend on it;
    other pairs have other seeds.  The noise of sampling is the same in all runs.
    """

    mask: int
    seed: int


@dataclass(frozen=True)
class Run:
    """One run of the game.

    `values`: measured properties by name.  `status`: planned, leased, done or failed; only the
    values of done runs count.
    """

    mask: int
    seed: int
    values: Mapping[str, float]
    status: str


class RunTable(NamedTuple):
    """Finished runs, row by row: masks bool (m, n), values float64 (m,), seeds int64 (m,)."""

    masks: Bools
    values: Floats
    seeds: Ints

    def at(self, rows: Bools | Ints | Sequence[int]) -> RunTable:
        """Some of the runs."""
        return RunTable(self.masks[rows], self.values[rows], self.seeds[rows])


class Design(Protocol):
    """The subsets to run, in order: `take(k)` is always the beginning of `take(k + 1)`."""

    @property
    def players(self) -> int:
        """n."""
        ...

    def take(self, runs: int) -> list[Planned]:
        """The first `runs` runs; fewer where the design has no more."""
        ...


def require_players(players: int) -> None:
    """An `InputError` for fewer than two contributors or more than `MAX_PLAYERS`."""
    if players < 2:
        raise InputError(
            f"the game has {players} contributor(s), and shares are of several; give at least two"
        )
    if players > MAX_PLAYERS:
        raise InputError(
            f"the game has {players:,} contributors, and shares are computed for at most "
            f"{MAX_PLAYERS:,}; compute shares of groups of them (groups in [contributors])"
        )


def mask_of(members: Sequence[bool] | Bools) -> int:
    """The mask of a boolean row."""
    bits = np.packbits(np.asarray(members, dtype=bool), bitorder="little")
    return int.from_bytes(bits.tobytes(), "little")


def members_of(mask: int, players: int) -> Bools:
    """The boolean row (n,) of a mask; an `InputError` where a bit has no player."""
    if mask < 0 or mask.bit_length() > players:
        raise InputError(
            f"the mask {mask} names no subset of {players} players; the ledger is of another game"
        )
    data = np.frombuffer(mask.to_bytes((players + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(data, count=players, bitorder="little").astype(bool)


@dataclass(frozen=True)
class GameIdentity:
    """The identity of a game: runs of one identity are comparable.

    `spec`, JSON values, is everything that determines a run's result: digests of each contributor's
    data and of the weights, and all settings.
    """

    name: str
    players: int
    spec: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of players and spec, without the name."""
        return digest_json({"players": self.players, "spec": dict(self.spec)})


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: values by property, an error for each other property, and details.

    `detail`: JSON values, as seconds per stage and digests of the output.  `rescorable`: the output
    is saved and can be measured again, so the run is done even if no property has a value.
    """

    values: Mapping[str, float]
    errors: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    rescorable: bool = False


class Lease(NamedTuple):
    """The right to make one run, which no other process has until the lease ends."""

    key: str
    mask: int
    seed: int
    owner: str


class Problem(NamedTuple):
    """A recorded failure of a run, or of one property of it."""

    run: Run
    what: str
    error: str


def run_key(game: str, mask: int, seed: int) -> str:
    """The key of a run: SHA-256 over the game's digest, the mask and the seed, as hex."""
    return hashlib.sha256(f"{game}\x1f{mask:x}\x1f{seed}".encode()).hexdigest()


def sort_out(outcome: Outcome) -> tuple[dict[str, float], dict[str, str]]:
    """The finite values of an outcome, and an error for every other property."""
    values = {k: float(v) for k, v in outcome.values.items() if np.isfinite(v)}
    errors = {
        k: f"the property gave {float(v)}, expected a finite number"
        for k, v in outcome.values.items()
        if not np.isfinite(v)
    }
    return values, errors | {k: v or "failed" for k, v in outcome.errors.items()}


def changed_names(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the entries that differ."""
    names, absent = list[str](), object()
    new = json.loads(json.dumps(new))
    for name in sorted({*old, *new}):
        before, after = old.get(name, absent), new.get(name, absent)
        if isinstance(before, dict) and isinstance(after, dict):
            names += changed_names(before, after, f"{prefix}{name}.")
        elif before != after:
            names.append(f"{prefix}{name}")
    return names
