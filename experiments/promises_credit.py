"""What credit promises, simulated: runs of known games with noise; all that follows is real.

The world: a game of main effects with heavy tails, products of two contributors, and an effect of
the number of contributors.  Its Shapley, Owen and Banzhaf values are known in closed form.  Every
run carries noise, except (where said) that of the empty set, which trains on nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import comb

import numpy as np
from promise import Promise, Values

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.design import (
    ANCHOR_RUNS,
    EnumerationDesign,
    LeaveOneOutDesign,
    PairedDesign,
    PermutationDesign,
    UniformDesign,
)
from wherefrom.credit.estimators.tables import anchors_of, checked
from wherefrom.credit.ledger.game import Bools, Design, Floats, RunTable
from wherefrom.credit.payout.division import History, Payout, PayoutConfig, divide_pool
from wherefrom.credit.result import Shares

POOL = 10_000_000  # cents: rounding to one cent is far below every error
SETTLEMENTS = 8
SLACK = 1.0  # cents that rounding may add to a payment


@dataclass(frozen=True)
class World:
    """A game of n players whose values are known.

    `main` (n,); `pairs`: (i, j, weight) of a product; `crowd`: what all together add by their
    number alone, as crowd (1 - exp(-4 s/n)) / (1 - exp(-4)).
    """

    main: Floats
    pairs: tuple[tuple[int, int, float], ...]
    crowd: float

    @classmethod
    def draw(
        cls, players: int, seed: int, *, crowd: float = 1.0, most: float | None = None
    ) -> World:
        """Positive and negative main effects, 2n products, and a crowd worth as much as they.

        With `most` everybody's effect is positive and small but the first one's, and that is all.
        """
        rng = np.random.default_rng(seed)
        if most is not None:
            small = rng.exponential(0.5, players - 1) + 0.2
            return cls(np.array([most, *small]), (), 0.0)
        main = rng.standard_t(3, players) + 1.0
        pairs = []
        for _ in range(2 * players):
            i, j = rng.choice(players, 2, replace=False)
            pairs.append((int(i), int(j), float(0.5 * rng.normal())))
        return cls(main, tuple(pairs), crowd * float(np.abs(main).sum()))

    def values(self, masks: Bools) -> Floats:
        """v of each row, (m,)."""
        rows = masks.astype(np.float64)
        values = rows @ self.main + self._crowd(rows.sum(axis=1))
        for i, j, weight in self.pairs:
            values = values + weight * rows[:, i] * rows[:, j]
        return values

    def shapley(self) -> Floats:
        """A product is halved; the crowd is shared equally.  Owen values are the same where all
        unions are of one size.
        """
        shares = self.main + self.crowd / len(self.main)
        for i, j, weight in self.pairs:
            shares[[i, j]] += weight / 2
        return shares

    def banzhaf(self) -> Floats:
        """Mean gain over all subsets of the others."""
        n = len(self.main)
        sizes = np.arange(n)
        law = np.array([comb(n - 1, int(s)) / 2.0 ** (n - 1) for s in sizes])
        gains = self.main + float(law @ (self._crowd(sizes + 1) - self._crowd(sizes)))
        for i, j, weight in self.pairs:
            gains[[i, j]] += weight / 2
        return gains

    def without_each(self) -> Floats:
        """What is lost when one leaves."""
        n = len(self.main)
        whole = np.ones((1, n), dtype=bool)
        return self.values(whole) - self.values(~np.eye(n, dtype=bool))

    def _crowd(self, sizes: Floats) -> Floats:
        n = len(self.main)
        values: Floats = self.crowd * (1 - np.exp(-4 * sizes / n)) / (1 - np.exp(-4.0))
        return values


def played(
    design: Design,
    runs: int,
    world: World,
    noise: float,
    rng: np.random.Generator,
    *,
    quiet: bool = True,
) -> RunTable:
    """The first runs of a design.  `quiet`: the empty set has no noise."""
    planned = design.take(runs)
    numbers = np.array([run.mask for run in planned], dtype=np.int64)
    masks = (numbers[:, None] >> np.arange(design.players) & 1).astype(bool)
    each = noise * rng.normal(size=len(planned))
    if quiet:
        each[~masks.any(axis=1)] = 0.0
    seeds = np.array([run.seed for run in planned], dtype=np.int64)
    return RunTable(masks, world.values(masks) + each, seeds)


def missed(shares: Shares, truth: Floats) -> float:
    """Whether any interval misses."""
    return float(not ((shares.low <= truth) & (truth <= shares.high)).all())


def intervals(
    make: Callable[[int], Design],
    runs: int,
    noise: float,
    method: str,
    replays: int,
    seed: int,
    *,
    truth: Callable[[World], Floats] = World.shapley,
    unions: Sequence[str] = (),
    crowd: float = 1.0,
    products: bool = True,
) -> Values:
    """Whether the intervals of a method miss: a new game, design and noise in each replay."""
    rng = np.random.default_rng(seed)
    misses = []
    for _ in range(replays):
        design = make(int(rng.integers(2**31)))
        world = World.draw(design.players, int(rng.integers(2**31)), crowd=crowd)
        world = world if products else replace(world, pairs=())
        table = played(design, runs, world, noise, rng)
        misses.append(missed(estimate(table, method, unions=unions), truth(world)))
    return np.array(misses)


def gains_missed(replays: int, seed: int) -> Values:
    """Three runs of the full set, and three of the empty one, which has no noise."""
    rng = np.random.default_rng(seed)
    world = World.draw(5, seed)
    masks = np.repeat([[False] * 5, [True] * 5], 3, axis=0)
    exact = world.values(masks)
    gain = float(exact[-1] - exact[0])
    misses = []
    for _ in range(replays):
        values = exact + np.repeat([0.0, 1.0], 3) * rng.normal(size=6)
        anchors = anchors_of(checked(RunTable(masks, values, np.arange(6))))
        misses.append(float(abs(anchors.gain - gain) > anchors.reach(0.95)))
    return np.array(misses)


def due(world: World) -> Floats:
    """Everybody's true part of the pool under the policy floor, in cents."""
    positive = world.shapley().clip(min=0)
    part: Floats = POOL * positive / positive.sum()
    return part


def paid_of(payout: Payout) -> dict[str, int]:
    """What the pool has paid everybody."""
    return {p.name: p.before + p.paid for p in payout.payments}


def overpaid(
    replays: int, seed: int, *, players: int, runs: int, most: float, payouts: int
) -> Values:
    """Whether anybody has more than the true part after a payout and its settlements.

    One contributor brings most of the gain; noise has deviation 1, and both sets of anchors three
    runs.  The first payout rests on `runs` runs, and each settlement on half as many more.  A
    payout that is refused pays nothing.
    """
    rng = np.random.default_rng(seed)
    names = [str(i) for i in range(players)]
    overpayments = []
    for _ in range(replays):
        world = World.draw(players, int(rng.integers(2**31)), most=most)
        design = PairedDesign(players, int(rng.integers(2**31)), ANCHOR_RUNS)
        whole = played(design, runs + (payouts - 1) * runs // 2, world, 1.0, rng)
        paid: dict[str, int] = {}
        for look in range(payouts):
            shares = estimate(whole.at(range(runs + look * runs // 2)), "paired")
            try:
                payout = divide_pool(
                    shares,
                    names,
                    f"{POOL // 100}.00",
                    config=PayoutConfig(),
                    history=History(paid=paid, look=look + 1),
                )
            except InputError:
                continue
            paid = paid_of(payout)
        more = np.array([paid.get(name, 0) for name in names]) > due(world) + SLACK
        overpayments.append(float(more.any()))
    return np.array(overpayments)


def _owen(seed: int) -> PermutationDesign:
    return PermutationDesign(6, seed, groups=(0, 0, 1, 1, 2, 2))


ALL = "all intervals hold at once with probability at least the level"
ONE_LOOK = "one look at a number of runs that was fixed beforehand; noise of equal size in all runs"
ERROR = 0.05

PROMISES = (
    Promise(
        "gain of the full set",
        "the true gain lies within its reach with probability at least the level",
        "normal noise, of any size in each of the two sets (here none in the empty one)",
        "credit/estimators/tables.py: anchors_of, credit/result.py: Anchors.reach",
        ERROR,
        gains_missed,
        suite=400,
    ),
    Promise(
        "paired shares of 20",
        ALL,
        ONE_LOOK,
        "credit/estimators/paired.py: estimate_paired",
        ERROR,
        partial(intervals, lambda s: PairedDesign(20, s), 206, 2.0, "paired"),
        suite=20,
    ),
    Promise(
        "paired shares of 4, many runs, three anchors",
        ALL,
        f"{ONE_LOOK}; here the gain is the least certain part",
        "credit/estimators/paired.py: estimate_paired; intervals.py: add_intervals",
        ERROR,
        partial(intervals, lambda s: PairedDesign(4, s), 406, 2.0, "paired", crowd=0.0),
        suite=150,
    ),
    Promise(
        "exact shares, each subset once",
        ALL,
        ONE_LOOK,
        "credit/estimators/paired.py: estimate_exact",
        ERROR,
        partial(
            intervals,
            lambda s: EnumerationDesign(9, s),
            512,
            2.0,
            "exact",
            crowd=0.0,
            products=False,
        ),
        suite=100,
    ),
    Promise(
        "exact shares, each subset twice",
        ALL,
        ONE_LOOK,
        "credit/estimators/paired.py: estimate_exact",
        ERROR,
        partial(intervals, lambda s: EnumerationDesign(3, s, 2), 16, 2.0, "exact"),
        suite=100,
    ),
    Promise(
        "permutation shares",
        ALL,
        ONE_LOOK,
        "credit/estimators/marginal.py: estimate_permutation",
        ERROR,
        partial(
            intervals, lambda s: PermutationDesign(6, s), 6 + 10 * 8, 0.1, "permutation", crowd=3.0
        ),
        suite=200,
    ),
    Promise(
        "permutation shares of 20",
        ALL,
        ONE_LOOK,
        "credit/estimators/marginal.py: estimate_permutation",
        ERROR,
        partial(
            intervals, lambda s: PermutationDesign(20, s), 6 + 38 * 8, 0.2, "permutation", crowd=4.0
        ),
        suite=80,
    ),
    Promise(
        "owen shares",
        ALL,
        ONE_LOOK,
        "credit/estimators/owen.py: estimate_owen",
        ERROR,
        partial(intervals, _owen, 6 + 10 * 8, 0.1, "owen", unions=tuple("aabbcc"), crowd=2.0),
        suite=120,
    ),
    Promise(
        "banzhaf values, uniform design",
        ALL,
        ONE_LOOK,
        "credit/estimators/marginal.py: estimate_banzhaf",
        ERROR,
        partial(
            intervals,
            lambda s: UniformDesign(10, s),
            602,
            1.0,
            "banzhaf",
            truth=World.banzhaf,
            crowd=3.0,
        ),
        suite=20,
    ),
    Promise(
        "leave-one-out losses",
        ALL,
        ONE_LOOK,
        "credit/estimators/marginal.py: estimate_leave_one_out",
        ERROR,
        partial(
            intervals, lambda s: LeaveOneOutDesign(6, s), 24, 1.0, "loo", truth=World.without_each
        ),
    ),
    Promise(
        "overpaid by a first payout",
        "nobody is paid more than the true part of the pool, for all at once, with probability at "
        "least the level",
        "the policy floor with escrow; the true part is that of the game which was played, and its "
        "rounding is up to a cent; the number of runs was fixed beforehand",
        "credit/payout/division.py, credit/estimators/intervals.py",
        ERROR,
        partial(overpaid, players=6, runs=400, most=20.0, payouts=1),
        suite=150,
    ),
    Promise(
        "overpaid after eight settlements",
        "nobody has been paid more than the true part of the pool after any number of settlements, "
        "with probability at least the level",
        "as for a first payout; the runs of each settlement were fixed before it",
        "credit/estimators/intervals.py: error_of_look",
        ERROR,
        partial(overpaid, players=6, runs=60, most=20.0, payouts=1 + SETTLEMENTS),
        suite=30,
    ),
)
