"""Measures of scores of contributors: LDS, counterfactual changes, and what noise allows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.json_text import finite
from wherefrom.credit.equations import datamodel, rank_correlation, relative_change
from wherefrom.credit.estimators.intervals import bonferroni
from wherefrom.credit.estimators.tables import anchors_of, checked, values_by_subset
from wherefrom.credit.ledger.game import Bools, Floats, Ints, Planned, RunTable, mask_of
from wherefrom.credit.method import COUNTERFACTUAL_SEEDS, LDS_SEEDS, MAX_REPLICATES

MIN_SUBSETS = 4  # a rank correlation of fewer says nothing
FRACTIONS = (0.1, 0.2, 0.4, 0.6)  # of the contributors, Fig. 3 and 6
DRAWS = 1000  # of the bootstrap: its 95 % ends are then steady to about a tenth of their width


@dataclass(frozen=True)
class SubsetsDesign:
    """The held-out runs of LDS: `subsets` random subsets of one size, each trained with every seed.

    The seeds are `replicates` training seeds; the k-th run of every subset shares the k-th.
    """

    players: int
    alpha: float
    subsets: int = 100
    replicates: int = 3
    seed: int = 0

    def take(self, runs: int) -> list[Planned]:
        """The first `runs` runs; a whole replicate of every subset before the next."""
        if not 1 <= self.replicates <= MAX_REPLICATES:
            raise InputError(f"{self.replicates} seeds of each subset; give 1 to {MAX_REPLICATES}")
        size = round(self.alpha * self.players)
        if not 0 < size < self.players:
            raise InputError(
                f"alpha = {self.alpha} of {self.players} contributors is {size}; expected a part "
                "of them"
            )
        draw = np.random.default_rng(derive_seed(self.seed, "credit lds", self.alpha))
        masks: dict[int, None] = {}
        for _ in range(100 * self.subsets):
            if len(masks) == self.subsets:
                break
            masks[sum(1 << int(i) for i in draw.choice(self.players, size, replace=False))] = None
        planned = [
            Planned(mask, derive_seed(self.seed, LDS_SEEDS, replicate))
            for replicate in range(self.replicates)
            for mask in masks
        ]
        return planned[: max(runs, 0)]


@dataclass(frozen=True)
class LdsRow:
    """LDS of one method at one size, mean over training seeds with a t-interval.  Eq. 10.

    `ceiling`: what perfect scores would get, given how far runs of one subset differ; NaN where
    no subset was run twice.  `low` and `high` are NaN with one seed.
    """

    method: str
    size: int
    alpha: float
    subsets: int
    seeds: int
    lds: float
    low: float
    high: float
    ceiling: float

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; None for what is not finite."""
        row: dict[str, Any] = finite(asdict(self))
        return row


def lds_rows(
    table: RunTable,
    scores: Mapping[str, Floats],
    *,
    only: Sequence[Planned] = (),
    seen: Sequence[int] = (),
    level: float = 0.95,
) -> list[LdsRow]:
    """LDS of every method at every size that the table has enough subsets of.

    Deviation: the paper prints 1.96 standard deviations over three seeds as a 95 % interval; with
    two degrees of freedom it takes 4.30 standard errors, which is printed here.  Subsets in
    `seen`, on which a method was fitted, are left out; with `only`, all but those runs are.
    """
    if only:
        table = only_runs(table, only)
    rows, blocks = [], list(_blocks(table, seen))
    if not blocks:
        raise InputError(
            f"no size has {MIN_SUBSETS} subsets that were run with the same seeds; run the "
            "evaluation subsets first (evaluate --run)"
        )
    for size, masks, values in blocks:
        top = noise_ceiling(values)
        for method, tau in scores.items():
            predicted = datamodel(masks, np.asarray(tau, dtype=np.float64))
            each = np.array([rank_correlation(predicted, column) for column in values.T])
            mean, *ends = t_interval(each, level)
            low, high = np.clip(ends, -1.0, 1.0).tolist()  # a correlation is nowhere else
            count, seeds = values.shape
            alpha = size / masks.shape[1]
            rows.append(LdsRow(method, size, alpha, count, seeds, mean, low, high, top))
    return rows


def left_out(held_out: Sequence[Planned], fitted: RunTable) -> tuple[int, ...]:
    """Subsets that LDS leaves out because the shares were fitted on them.

    None are left out where fewer than `MIN_SUBSETS` of a size would remain.
    """
    seen = {mask_of(row) for row in fitted.masks}
    fresh: dict[int, int] = {}
    for mask in {run.mask for run in held_out}:
        fresh[mask.bit_count()] = fresh.get(mask.bit_count(), 0) + (mask not in seen)
    enough = all(count >= MIN_SUBSETS for count in fresh.values())
    return tuple(sorted(seen)) if enough else ()


def only_runs(table: RunTable, wanted: Sequence[Planned], *, rest: bool = False) -> RunTable:
    """Those runs of the table that are `wanted`, or with `rest` the others."""
    named = {(run.mask, run.seed) for run in wanted}
    cells = zip(table.masks, table.seeds, strict=True)
    inside = np.array([(mask_of(row), int(seed)) in named for row, seed in cells], dtype=bool)
    return table.at(inside != rest)


def lds_difference(
    table: RunTable,
    first: Floats,
    second: Floats,
    *,
    seed: int = 0,
    level: float = 0.95,
    seen: Sequence[int] = (),
) -> dict[int, tuple[float, float, float]]:
    """By size: LDS of `first` less that of `second`, and the bootstrap interval over subsets.

    Both are compared on the same drawn subsets, so what is hard for both cancels.  Subsets have the
    mean of their seeds here, so it is not the difference of two `LdsRow`s to the last digit.
    """
    differences = {}
    for size, masks, values in _blocks(table, seen):
        truth = values.mean(axis=1)
        ours, theirs = datamodel(masks, first), datamodel(masks, second)
        draw = np.random.default_rng(derive_seed(seed, "credit lds difference", size))
        at = np.stack([draw.integers(len(truth), size=len(truth)) for _ in range(DRAWS)])
        gaps = _row_correlations(ours[at], truth[at]) - _row_correlations(theirs[at], truth[at])
        ends = np.nanquantile(gaps, [(1 - level) / 2, (1 + level) / 2])
        gap = rank_correlation(ours, truth) - rank_correlation(theirs, truth)
        differences[size] = (gap, float(ends[0]), float(ends[1]))
    return differences


def _row_correlations(a: Floats, b: Floats) -> Floats:
    """Spearman's rho of each row, as `rank_correlation`; NaN where one side is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(a, axis=1), rankdata(b, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    with np.errstate(invalid="ignore"):
        rho: Floats = np.where(scale > 0, (a * b).sum(axis=1) / scale, np.nan)
    return rho


def noise_ceiling(values: Floats) -> float:
    """The LDS of perfect scores, from values (subsets, seeds).

    It is the root of the mean rank correlation between seeds: NaN with one seed, 0 where seeds do
    not agree at all.
    """
    each = [rank_correlation(a, b) for a, b in itertools.combinations(values.T, 2)]
    return max(float(np.mean(each)), 0.0) ** 0.5 if each else float("nan")


def t_interval(values: Floats, level: float) -> tuple[float, float, float]:
    """Mean and its t-interval; NaN ends for one value."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    reach = bonferroni(1, count - 1, level) * float(np.std(values, ddof=1)) / count**0.5
    return mean, mean - reach, mean + reach


@dataclass(frozen=True)
class CounterfactualRow:
    """Delta F after removing the top contributors, or keeping only them.  Fig. 3.

    `change` is None where that subset has not been run; `runs` says how often it was.
    """

    method: str
    kind: str
    count: int
    mask: int
    change: float | None
    runs: int


def counterfactual_masks(scores: Floats) -> list[tuple[str, int, int]]:
    """(remove or keep, how many, mask) for the top contributors of each of `FRACTIONS`.

    Ties go to the contributor that comes first.
    """
    order = np.argsort(-scores, kind="stable")
    full, subsets = (1 << len(scores)) - 1, []
    for count in dict.fromkeys(round(fraction * len(scores)) for fraction in FRACTIONS):
        if 0 < count < len(scores):
            top = mask_of(np.isin(np.arange(len(scores)), order[:count]))
            subsets += [("remove", count, full ^ top), ("keep", count, top)]
    return subsets


def counterfactual_rows(table: RunTable, scores: Mapping[str, Floats]) -> list[CounterfactualRow]:
    """Delta F = (F_k - F) / F for every method, from the runs that are there."""
    runs = checked(table)
    full = anchors_of(runs).full
    if full == 0:
        raise InputError("the property is 0 with all contributors; a relative change is undefined")
    values, rows = values_by_subset(runs), []
    for method, tau in scores.items():
        for kind, count, mask in counterfactual_masks(np.asarray(tau)):
            there = values.get(mask, [])
            change = relative_change(float(np.mean(there)), full) if there else None
            rows.append(CounterfactualRow(method, kind, count, mask, change, len(there)))
    return rows


def counterfactual_runs(scores: Mapping[str, Floats], players: int, seed: int) -> list[Planned]:
    """The runs that `counterfactual_rows` needs, each subset once."""
    masks = [mask for tau in scores.values() for _, _, mask in counterfactual_masks(tau)]
    run_seed = derive_seed(seed, COUNTERFACTUAL_SEEDS, 0)
    return [Planned(mask, run_seed) for mask in dict.fromkeys([*masks, 0, (1 << players) - 1])]


@dataclass(frozen=True)
class VarianceSplit:
    """Variance of a run by its source: the subset, the seed of training, the noise of sampling.

    Variances of one run.  `sampling` is None where it was not measured; it is then part of
    `training`.  `buy`: what more work is best spent on.
    """

    subset: float
    training: float
    sampling: float | None
    freedom: int

    @property
    def buy(self) -> str:
        """What more work is best spent on."""
        noise = self.training + (self.sampling or 0.0)
        if noise < self.subset / 10:
            return "subsets"
        if self.sampling is not None and self.sampling > self.training:
            return "images per run"
        return "subsets; seeds are averaged over by them"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"buy": self.buy}


def variance_split(table: RunTable, sampling: float | None = None) -> VarianceSplit:
    """One-way random effects over subsets that were run with several seeds.

    `sampling`: the mean variance of a run's value over repeated sampling, if it is known.
    """
    runs = checked(table)
    groups = values_by_subset(runs)
    counts = np.array([len(values) for values in groups.values()], dtype=np.float64)
    freedom = int((counts - 1).sum())
    if freedom < 1 or len(groups) < 2:
        raise InputError("no subset was run with two seeds; replicate some runs to split variance")
    means = np.array([np.mean(values) for values in groups.values()])
    within = sum(float(((np.array(v) - np.mean(v)) ** 2).sum()) for v in groups.values()) / freedom
    total, k = counts.sum(), len(groups)
    between = float((counts * (means - (counts * means).sum() / total) ** 2).sum()) / (k - 1)
    usual = float(total - (counts**2).sum() / total) / (k - 1)
    if sampling is not None:  # the runs share their noise; what cancels is not between them
        sampling = min(sampling, within)
    training = within - (sampling or 0.0)
    return VarianceSplit(max((between - within) / usual, 0.0), training, sampling, freedom)


def _blocks(table: RunTable, seen: Sequence[int]) -> Iterator[tuple[int, Bools, Floats]]:
    """(size, masks (B, n), values (B, seeds)) of the subsets that have all of a size's seeds."""
    runs, left_out = checked(table), set(seen)
    n = runs.masks.shape[1]
    numbers = [mask_of(row) for row in runs.masks]
    sizes: Ints = runs.masks.sum(axis=1)
    for size in range(1, n):
        cells = {
            (numbers[j], int(runs.seeds[j])): float(runs.values[j])
            for j in np.flatnonzero(sizes == size)
            if numbers[j] not in left_out
        }
        uses = {seed: {mask for mask, s in cells if s == seed} for _, seed in cells}
        seeds = sorted(seed for seed, masks in uses.items() if len(masks) >= MIN_SUBSETS)
        shared = sorted(set.intersection(*(uses[seed] for seed in seeds))) if seeds else []
        if len(shared) >= MIN_SUBSETS:
            masks = np.array([[mask >> i & 1 for i in range(n)] for mask in shared], dtype=bool)
            yield size, masks, np.array([[cells[mask, s] for s in seeds] for mask in shared])
