"""What the game, the ledger, the designs and the estimators have in common: a run of one subset.

Players are the contributors, numbered 0 to n - 1.  A subset is a boolean row of n entries wherever
numbers are computed, and an int with bit i for player i wherever it is a name (in the ledger).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


MAX_ENUMERATED = 16  # contributors whose every subset is run; 2^16 runs are more than anybody makes
# Contributors at all: their covariance has n^2 entries, and its factorisation takes n^3 steps.
MAX_PLAYERS = 4096


class Planned(NamedTuple):
    """One run to be made: which players take part, and the seed of its training.

    The seed is the same for a subset and its complement, so that their difference is not blurred
    by it, and differs between pairs.  The noise of sampling is one for all runs.
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


class RunSource(Protocol):
    """What has finished runs: the ledger."""

    def runs(self, name: str) -> RunTable:
        """The done runs that have a finite value of the property `name`, in a stable order."""
        ...


class Design(Protocol):
    """Which subsets to run.  `take(k)` is always the beginning of `take(k + 1)`."""

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
            f"the game has {players} contributor(s), and one alone gets everything; "
            "credit needs at least two"
        )
    if players > MAX_PLAYERS:
        raise InputError(
            f"the game has {players:,} contributors, and shares are computed for at most "
            f"{MAX_PLAYERS:,}; play between groups of them (groups in [contributors])"
        )


def mask_of(members: Sequence[bool] | Bools) -> int:
    """The int of a boolean row."""
    bits = np.packbits(np.asarray(members, dtype=bool), bitorder="little")
    return int.from_bytes(bits.tobytes(), "little")


def members_of(mask: int, players: int) -> Bools:
    """The boolean row (n,) of an int; an `InputError` where a bit has no player."""
    if mask < 0 or mask.bit_length() > players:
        raise InputError(f"{mask} is no subset of {players} players; the ledger is of another game")
    data = np.frombuffer(mask.to_bytes((players + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(data, count=players, bitorder="little").astype(bool)
