"""Designs: which subsets to run.  A larger budget extends the same list of runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.credit.equations import size_law
from wherefrom.credit.estimators.kernel_shap_weights import half_sizes, pair_law
from wherefrom.credit.ledger.game import (
    MAX_ENUMERATED,
    Design,
    Ints,
    Planned,
    mask_of,
    require_players,
)

GOLDEN = (5**0.5 - 1) / 2  # multiples of it fill [0, 1) evenly at every length
ANCHOR_RUNS = 3
PAYOUT_ANCHORS = 8  # t at 98.75 %: 8.9 of 3 runs, 3.3 of 8, 2.8 of 20


@dataclass(frozen=True)
class SeededDesign(ABC):
    """A design whose runs are the beginning of one sequence, which its seed decides."""

    players: int
    seed: int = 0

    def take(self, runs: int) -> list[Planned]:
        """The first `runs` runs; fewer where the design has no more."""
        require_players(self.players)
        return list(islice(self._all(), max(runs, 0)))

    @abstractmethod
    def _all(self) -> Iterator[Planned]:
        """The whole sequence."""


@dataclass(frozen=True)
class PairedDesign(SeededDesign):
    """The default: the empty and the full set `anchors` times, then subsets with complements.

    Sizes follow `pair_law` evenly at every length.  The subsets of one size are dealt like cards:
    each contributor is in one before any is in the next.
    """

    anchors: int = ANCHOR_RUNS

    def _all(self) -> Iterator[Planned]:
        yield from anchor_runs(self.players, self.seed, self.anchors)
        full = (1 << self.players) - 1
        for number, mask in enumerate(self._subsets()):
            seed = derive_seed(self.seed, "credit pair", number)
            yield Planned(mask, seed)
            yield Planned(full ^ mask, seed)

    def _subsets(self) -> Iterator[int]:
        n = self.players
        sizes, edges = half_sizes(n), np.cumsum(pair_law(n))
        draw = _stream(self.seed, "paired design")
        start = draw.random()
        decks: dict[int, list[int]] = {}
        number = 0
        while True:
            place = np.searchsorted(edges, (start + number * GOLDEN) % 1.0 * edges[-1])
            size = int(sizes[min(place, len(sizes) - 1)])
            yield _deal(decks, size, n, draw)
            number += 1


@dataclass(frozen=True)
class KernelShapDesign(SeededDesign):
    """The paper's design: single subsets, drawn with replacement from the law of Eq. 5."""

    anchors: int = 1

    def _all(self) -> Iterator[Planned]:
        n = self.players
        yield from anchor_runs(n, self.seed, self.anchors)
        law, draw = size_law(n), _stream(self.seed, "kernel shap design")
        number = 0
        while True:
            size = int(draw.choice(np.arange(1, n), p=law))
            mask = _mask(draw.choice(n, size, replace=False), n)
            yield Planned(mask, derive_seed(self.seed, "credit subset", number))
            number += 1


@dataclass(frozen=True)
class EnumerationDesign(SeededDesign):
    """Every subset `replicates` times, 2^n runs each round, with seeds of its own."""

    replicates: int = 1

    def take(self, runs: int) -> list[Planned]:
        """The first `runs` runs; an `InputError` above `MAX_ENUMERATED` contributors."""
        require_enumerable(self.players)
        return super().take(runs)

    def _all(self) -> Iterator[Planned]:
        n, full = self.players, (1 << self.players) - 1
        for replicate in range(self.replicates):
            for mask in range(1 << (n - 1)):
                seed = derive_seed(self.seed, "credit exact", replicate, mask)
                yield Planned(mask, seed)
                yield Planned(full ^ mask, seed)


@dataclass(frozen=True)
class PermutationDesign(SeededDesign):
    """Orders of joining, each followed by its reverse; one seed per such pair.

    With `groups` (the union of each player), the members of a union join one after the other, and
    the mean gains are Owen values.
    """

    anchors: int = ANCHOR_RUNS
    groups: tuple[int, ...] | None = None

    def _all(self) -> Iterator[Planned]:
        yield from anchor_runs(self.players, self.seed, self.anchors)
        full = (1 << self.players) - 1
        number = 0
        while True:
            seed = derive_seed(self.seed, "credit order", number)
            draw = _stream(self.seed, "permutation design", number)
            mask = 0
            for player in self._order(draw)[:-1]:
                mask |= 1 << player
                yield Planned(mask, seed)
                yield Planned(full ^ mask, seed)
            number += 1

    def _order(self, draw: np.random.Generator) -> list[int]:
        order = [int(i) for i in draw.permutation(self.players)]
        if self.groups is None:
            return order
        groups = self.groups
        turn = list(dict.fromkeys(groups[i] for i in order))
        turn = [turn[int(j)] for j in draw.permutation(len(turn))]
        return sorted(order, key=lambda i: turn.index(groups[i]))


@dataclass(frozen=True)
class UniformDesign(SeededDesign):
    """Subsets with complements, all equally likely: the design of Banzhaf values."""

    anchors: int = 1

    def _all(self) -> Iterator[Planned]:
        n, full = self.players, (1 << self.players) - 1
        yield from anchor_runs(n, self.seed, self.anchors)
        draw = _stream(self.seed, "uniform design")
        number = 0
        while True:
            mask = mask_of(draw.random(n) < 0.5)
            if mask in (0, full):  # these are the anchors
                continue
            seed = derive_seed(self.seed, "credit uniform", number)
            yield Planned(mask, seed)
            yield Planned(full ^ mask, seed)
            number += 1


@dataclass(frozen=True)
class LeaveOneOutDesign(SeededDesign):
    """All contributors, all but one, and none: n + 2 runs of one seed, `replicates` times."""

    replicates: int = ANCHOR_RUNS

    def _all(self) -> Iterator[Planned]:
        full = (1 << self.players) - 1
        for replicate in range(self.replicates):
            seed = derive_seed(self.seed, "credit leave one out", replicate)
            for mask in (full, *(full ^ 1 << i for i in range(self.players)), 0):
                yield Planned(mask, seed)


DESIGNS: dict[str, Callable[[int, int], Design]] = {
    "paired": PairedDesign,
    "kernelshap": KernelShapDesign,
    "exact": EnumerationDesign,
    "permutation": PermutationDesign,
    "banzhaf": UniformDesign,
    "loo": LeaveOneOutDesign,
}


OWN_ANCHORS = {"exact": 1, "loo": ANCHOR_RUNS}  # of designs whose rounds have them


@dataclass(frozen=True)
class WithAnchors:
    """A design with more runs of the empty and the full set than it has itself.

    The `more` runs are not counted: `take(k)` has them besides the k runs of the design, so that a
    larger number adds anchors and moves no other run.
    """

    design: Design
    more: tuple[Planned, ...]

    @property
    def players(self) -> int:
        """n."""
        return self.design.players

    def take(self, runs: int) -> list[Planned]:
        """The anchors, then the first `runs` runs of the design; no runs, no anchors."""
        return [*self.more, *self.design.take(runs)] if runs > 0 else []


def anchor_rounds(kind: str, anchors: int | None, *, payout: bool = False) -> tuple[int, int]:
    """How often the empty and the full set are run: counted among a design's runs, and in all.

    `anchors` None: 3 times, and once under `exact`; 8 times where a `payout` is planned.
    """
    own = OWN_ANCHORS.get(kind)
    if anchors is None:
        anchors = PAYOUT_ANCHORS if payout else own or ANCHOR_RUNS
    own = min(anchors, ANCHOR_RUNS) if own is None else own
    return own, max(anchors, own)


def design_of(
    kind: str,
    players: int,
    seed: int,
    anchors: int | None = None,
    *,
    unions: tuple[int, ...] | None = None,
    payout: bool = False,
) -> Design:
    """The design of a study, whose `anchors` may grow later: earlier runs stay a part of it.

    With `unions`, that of each player, it is the orders for Owen values, whatever the `kind`.
    `InputError` for more contributors than it takes (`require_playable`).
    """
    require_playable(kind, players)
    own, rounds = anchor_rounds(kind, anchors, payout=payout)
    make: Callable[..., Design] = DESIGNS[kind] if unions is None else PermutationDesign
    given: dict[str, Any] = {} if kind in OWN_ANCHORS else {"anchors": own}
    if unions is not None:
        given["groups"] = unions
    more = tuple(anchor_runs(players, seed, rounds))[2 * own :]
    return WithAnchors(make(players, seed, **given), more)


def require_enumerable(players: int) -> None:
    """An `InputError` above `MAX_ENUMERATED` contributors, for whom not every subset is run."""
    if players > MAX_ENUMERATED:
        raise InputError(
            f"the exact design runs each of the 2^{players} subsets of {players:,} contributors, "
            f"and takes at most {MAX_ENUMERATED} of them; use kind = 'paired' in [design], or play "
            "between groups (groups in [contributors])"
        )


def require_playable(kind: str, players: int) -> None:
    """An `InputError` for a number of contributors that a design of this `kind` cannot have."""
    require_players(players)
    if kind == "exact":
        require_enumerable(players)


def anchor_runs(n: int, seed: int, replicates: int) -> Iterator[Planned]:
    """The empty and the full set, in turn; a round shares its seed."""
    for replicate in range(replicates):
        shared = derive_seed(seed, "credit anchor", replicate)
        yield Planned(0, shared)
        yield Planned((1 << n) - 1, shared)


def _deal(decks: dict[int, list[int]], size: int, n: int, draw: np.random.Generator) -> int:
    """The next subset of one size: the rest of its deck, then contributors of a fresh deck."""
    deck = decks.get(size, [])
    if len(deck) < size:
        fresh = [int(i) for i in draw.permutation(n)]
        held = set(deck)
        first = [i for i in fresh if i not in held][: size - len(deck)]
        dealt = set(first)
        decks[size] = [i for i in fresh if i not in dealt]
        return _mask(deck + first, n)
    decks[size] = deck[size:]
    return _mask(deck[:size], n)


def _mask(members: Sequence[int] | Ints, n: int) -> int:
    row = np.zeros(n, dtype=bool)
    row[np.asarray(members, dtype=np.int64)] = True
    return mask_of(row)


def _stream(seed: int, name: str, *path: object) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "credit", name, *path))
