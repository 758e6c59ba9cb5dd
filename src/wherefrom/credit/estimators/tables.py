"""Anchors, pairs of complements, complete games and orders of joining among finished runs.

The order in which runs were finished changes no bit of what comes out.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.ledger.game import (
    MAX_ENUMERATED,
    Bools,
    Floats,
    RunTable,
    mask_of,
    require_players,
)
from wherefrom.credit.result import Anchors


class ComplementPairs(NamedTuple):
    """Complete pairs: the smaller subset (k, n), d = (v(S) - v(S'))/2 (k,), and unpaired runs.

    Of two halves, the one whose bytes come first counts as the smaller.
    """

    subsets: Bools
    halves: Floats
    unpaired: int


def checked(table: RunTable) -> RunTable:
    """The table sorted by seed and subset, each run once; an `InputError` where it is malformed."""
    masks = np.asarray(table.masks, dtype=bool)
    values = np.asarray(table.values, dtype=np.float64)
    seeds = np.asarray(table.seeds, dtype=np.int64)
    if masks.ndim != 2 or not len(masks) == len(values) == len(seeds):
        raise InputError(
            f"runs have masks {masks.shape}, values {values.shape} and seeds {seeds.shape}; "
            "expected (m, n), (m,) and (m,)"
        )
    require_players(masks.shape[1])
    if not np.isfinite(values).all():
        raise InputError(
            f"{(~np.isfinite(values)).sum()} runs have no finite value; leave them out"
        )
    names = [(int(seed), row.tobytes()) for seed, row in zip(seeds, masks, strict=True)]
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    order = np.array([first[name] for name in sorted(first)], dtype=np.int64)
    return RunTable(masks, values, seeds).at(order)


def anchors_of(table: RunTable) -> Anchors:
    """Means of the runs without and with all contributors, and the variance of their difference.

        Var(gain) = s_0^2 / m_0 + s_N^2 / m_N

    with the variance s^2 of each set's own m runs (units of the property, squared): the empty set
    often has no noise at all, so the two are never pooled.  The degrees of freedom are those of the
    set that was run less often, min(m_0, m_N) - 1, with which the level of the t-interval is at
    least the stated one whatever the two variances are (Hsu, 1938; Mickey and Brown, 1966).  Runs
    of one seed in both sets make the true variance smaller, not larger.  NaN and 0 where a set was
    run once.  `InputError` where a set was not run.
    """
    sizes = table.masks.sum(axis=1)
    sets = [table.values[sizes == 0], table.values[sizes == table.masks.shape[1]]]
    for values, what in zip(sets, ("no contributor", "all contributors"), strict=True):
        if not len(values):
            raise InputError(
                f"there is no finished run with {what}; `wherefrom credit run` makes them, or says "
                "why they failed"
            )
    freedom = min(len(values) for values in sets) - 1
    variance = sum(float(values.var(ddof=1)) / len(values) for values in sets) if freedom else None
    return Anchors(
        empty=float(sets[0].mean()),
        full=float(sets[1].mean()),
        empty_runs=len(sets[0]),
        full_runs=len(sets[1]),
        variance=float("nan") if variance is None else variance,
        freedom=freedom,
    )


def subsets_of(table: RunTable) -> RunTable:
    """The runs that are no anchors."""
    sizes = table.masks.sum(axis=1)
    inner = (sizes > 0) & (sizes < table.masks.shape[1])
    return table.at(inner)


def values_by_subset(table: RunTable) -> dict[int, list[float]]:
    """The values of all runs of each subset, by its int."""
    values: dict[int, list[float]] = defaultdict(list)
    for row, value in zip(table.masks, table.values, strict=True):
        values[mask_of(row)].append(float(value))
    return dict(values)


def pairs_of(table: RunTable) -> ComplementPairs:
    """The pairs of a subset and its complement that share a seed."""
    inner = subsets_of(table)
    n = inner.masks.shape[1]
    place = {
        (int(seed), row.tobytes()): j
        for j, (row, seed) in enumerate(zip(inner.masks, inner.seeds, strict=True))
    }
    complements = [row.tobytes() for row in ~inner.masks]
    sizes = inner.masks.sum(axis=1).tolist()
    both = []
    for (seed, name), j in place.items():
        other = place.get((seed, complements[j]))
        if other is not None and (2 * sizes[j], name) < (n, complements[j]):
            both.append((j, other))
    chosen = np.array(both, dtype=np.int64).reshape(-1, 2)
    halves = (inner.values[chosen[:, 0]] - inner.values[chosen[:, 1]]) / 2
    return ComplementPairs(inner.masks[chosen[:, 0]], halves, len(inner.values) - 2 * len(chosen))


class Enumerated(NamedTuple):
    """A complete game: mean value per subset (2^n,), runs of each, and the variance of one run.

    The variance is that of runs of a part of the contributors.  The empty and the full set may be
    quieter (nobody's data train on nothing) and do not stand for others: NaN with 0 degrees where
    no other subset was run twice.
    """

    values: Floats
    counts: Floats
    variance: float
    freedom: int


def enumerated(table: RunTable) -> Enumerated | None:
    """The values of all 2^n subsets if every one was run, else (or above 16 contributors) None."""
    n = table.masks.shape[1]
    if n > MAX_ENUMERATED or len(table.values) < 2**n:
        return None
    numbers = table.masks @ (1 << np.arange(n))
    counts = np.bincount(numbers, minlength=2**n).astype(np.float64)
    if not counts.all():
        return None
    means = np.bincount(numbers, weights=table.values, minlength=2**n) / counts
    inner = (numbers > 0) & (numbers < 2**n - 1)
    freedom = int(inner.sum()) - (2**n - 2)
    spread = float(((table.values - means[numbers])[inner] ** 2).sum())
    return Enumerated(means, counts, spread / freedom if freedom else float("nan"), freedom)


def orders_of(table: RunTable, anchors: Anchors) -> list[Floats]:
    """Mean gains (n,) of each complete order of joining and its reverse, which share a seed.

    A seed whose runs are not exactly the beginnings of one order and of its reverse is passed over.
    """
    gains = []
    for runs in _by_seed(subsets_of(table)).values():
        values = {row.tobytes(): v for row, v in zip(runs.masks, runs.values, strict=True)}
        order = _order(runs.masks)
        if order is None:
            continue
        both = [_gains(way, values, anchors) for way in (order, order[::-1])]
        gains.append((both[0] + both[1]) / 2)
    return gains


def _order(masks: Bools) -> list[int] | None:
    n = masks.shape[1]
    sizes = masks.sum(axis=1)
    if len(masks) != 2 * (n - 1) or (np.bincount(sizes, minlength=n)[1:n] != 2).any():
        return None
    if {row.tobytes() for row in masks} != {(~row).tobytes() for row in masks}:
        return None
    current = masks[np.flatnonzero(sizes == 1)[0]]
    order = [int(np.flatnonzero(current)[0])]
    for size in range(2, n):
        # Beginnings of the reverse order never contain this one's first contributor before the end.
        longer = [row for row in masks[sizes == size] if (row & current).sum() == size - 1]
        if not longer:
            return None
        order.append(int(np.flatnonzero(longer[0] & ~current)[0]))
        current = longer[0]
    return [*order, int(np.flatnonzero(~current)[0])]


def _gains(order: list[int], values: dict[bytes, float], anchors: Anchors) -> Floats:
    gains, members, before = np.zeros(len(order)), np.zeros(len(order), dtype=bool), anchors.empty
    for place, player in enumerate(order):
        members[player] = True
        after = anchors.full if place == len(order) - 1 else values[members.tobytes()]
        gains[player], before = after - before, after
    return gains


def _by_seed(table: RunTable) -> dict[int, RunTable]:
    rows = defaultdict(list)
    for j, seed in enumerate(table.seeds):
        rows[int(seed)].append(j)
    return {seed: table.at(places) for seed, places in rows.items()}
