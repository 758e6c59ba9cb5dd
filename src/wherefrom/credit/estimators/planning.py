"""Expected width of the intervals for a number of runs, from the runs of a pilot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import floor
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.design import ANCHOR_RUNS
from wherefrom.credit.estimators.intervals import Estimate, add_intervals, gain_level, tukey
from wherefrom.credit.estimators.kernel_shap_weights import half_sizes, pair_kernel, pair_law
from wherefrom.credit.estimators.paired import LEVEL, estimate_paired, fit_paired, pair_rows
from wherefrom.credit.estimators.tables import anchors_of, checked, pairs_of
from wherefrom.credit.ledger.game import RunTable
from wherefrom.credit.result import Shares

SIZE_TERMS = 2  # coefficients of `size_features`
RUNS_PER_GROUP = 4  # a budget resolves about a quarter as many contributors as it has runs


@dataclass(frozen=True)
class BudgetRow:
    """Expected precision of `runs` runs, anchors not counted.

    `half_width`: expected half-width of the simultaneous intervals, in units of the property;
    `relative`: over the equal split.  `separated`: expected number of neighbours in the ranking,
    of n - 1 pairs, that would be told apart.  `signs`: expected number of contributors whose sign
    would be resolved.  `paid`: the part of a pool that a first payout would pay, the rest being
    escrow; None where it was not foreseen.  `hours` and `bytes` (on the disk) are None where no run
    was timed or saved.
    """

    runs: int
    half_width: float
    relative: float
    separated: float
    hours: float | None
    signs: float = 0.0
    paid: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class RunsPlan:
    """Expected precision for several numbers of runs, and facts of the pilot.

    `gain` give or take `gain_reach` (None: unknown) is what a first payout divides, in units of the
    property, at the level that it needs (`bounds.gain_level`); `anchors`: how often the empty and
    the full set, whichever was run less, were run; `anchors_needed`: how often for a gain beyond
    its reach, None where no number would do or the noise is unknown.
    """

    players: int
    pilot_runs: int
    gain: float
    gain_reach: float | None
    anchors: int
    anchors_needed: int | None
    needed: int
    spread: float
    equal_split: float
    rows: tuple[BudgetRow, ...]

    def advice(self, row: BudgetRow) -> str:
        """What to do at this number of runs, in one sentence."""
        if row.relative < 1:
            return "shares are known to better than the equal split"
        groups = max(2, row.runs // RUNS_PER_GROUP)
        if groups < self.players:
            return (
                f"too few to tell {self.players} apart; play between groups: groups = "
                f'"{groups}", or a CSV file, in [contributors]'
            )
        return "shares stay uncertain; measure with less noise or make more runs"

    def verdict(self, row: BudgetRow) -> str:
        """What this number of runs will most likely resolve, and pay, in one sentence."""
        top = floor(row.signs + 0.5)
        said = f"{row.runs} runs will most likely "
        if top < self.players:
            said += "end in 'not resolved' for all" + (f" but the top {top}" if top else "")
        else:
            said += "resolve every sign"
        if row.separated < self.players - 1.5:
            said += f", and tell {row.separated:.2g} of {self.players - 1} neighbours apart"
        if row.paid is not None:
            said += f"; a first payout would pay {row.paid:.0%} of the pool and hold the rest"
        return said

    def about_gain(self) -> str:
        """How certain the gain is that a payout would divide, in one sentence."""
        if self.gain_reach is None:
            return (
                f"gain {self.gain:.4g}, its noise unknown: set `anchors` in [design] to 3 or more"
            )
        said = f"gain {self.gain:.4g} give or take {self.gain_reach:.4g}, from {self.anchors}"
        said += " runs of the empty and the full set each (`anchors` in [design])"
        if self.gain > self.gain_reach:
            return said
        if self.anchors_needed is None:
            return f"{said}; a payout would refuse it, and no number of them would tell"
        return f"{said}; a payout would refuse it, about {self.anchors_needed} each would tell"

    def to_dict(self) -> dict[str, Any]:
        rows = [asdict(row) | {"advice": self.advice(row)} for row in self.rows]
        return asdict(self) | {"rows": rows}


def pilot_size(players: int) -> int:
    """The number of runs of a pilot: the anchors, and enough pairs to estimate the spread."""
    return 2 * ANCHOR_RUNS + max(4 * players, 2 * (players + 2 * SIZE_TERMS))


def usual_budgets(players: int) -> list[int]:
    """1 to 16 times the pairs of a pilot."""
    return [2 ** (j + 2) * players for j in range(5)]


def plan_runs(
    pilot: RunTable,
    budgets: Sequence[int] = (),
    *,
    level: float = LEVEL,
    seconds_per_run: float | None = None,
) -> RunsPlan:
    """Expected intervals of the paired estimator at `budgets` runs (by default 1 to 16 pilots).

    With sigma^2 the pilot's residual variance of a half difference, k pairs have

        Var(phi_i) = (1 - 1/n) sigma^2 E[w^2 e] / ((k - p) E[w e]^2),   e = s (n-s) / (n (n-1))

    w being the weights of sizes and p = n + 1 the coefficients.
    """
    runs = checked(pilot)
    n = runs.masks.shape[1]
    anchors, pairs = anchors_of(runs), pairs_of(runs)
    fit = fit_paired(pairs, anchors)
    if not fit.freedom:
        raise InputError(
            f"the pilot has {2 * len(pairs.halves)} runs in pairs, and {n} contributors need "
            f"{2 * (n + SIZE_TERMS)}; run the pilot first ({pilot_size(n)} runs)"
        )
    shares = estimate_paired(runs, level=level)
    reach = shares.anchors.reach(gain_level(level))
    sigma2 = _pair_variance(runs)
    wanted = list(budgets) or usual_budgets(n)
    rows = [
        _row(foreseen_shares(runs, budget, level=level), seconds_per_run)
        for budget in wanted
        if budget // 2 > n - 1 + SIZE_TERMS
    ]
    return RunsPlan(
        players=n,
        pilot_runs=len(runs.values),
        gain=anchors.gain,
        gain_reach=reach if np.isfinite(reach) else None,
        anchors=min(anchors.empty_runs, anchors.full_runs),
        anchors_needed=shares.anchors.needed(gain_level(level)),
        needed=2 * (n + SIZE_TERMS),
        spread=sigma2**0.5,
        equal_split=anchors.gain / n,
        rows=tuple(rows),
    )


def foreseen_shares(pilot: RunTable, runs: int, *, level: float = LEVEL) -> Shares:
    """The shares and intervals to expect of `runs` runs, if those of the pilot were the true ones.

    The gain and its noise are the pilot's: the empty and the full set are run before other subsets.
    `InputError` for a budget or a pilot that leaves no degree of freedom.
    """
    shares = estimate_paired(pilot, level=level)
    n, freedom = shares.players, runs // 2 - (shares.players - 1) - SIZE_TERMS
    if freedom < 1:
        raise InputError(f"{runs} runs carry no intervals of {n} contributors")
    law, weight = pair_law(n), pair_kernel(n) / pair_law(n)
    energy = half_sizes(n) * (n - half_sizes(n)) / (n * (n - 1))
    ratio = float((law * weight**2 * energy).sum() / (law * weight * energy).sum() ** 2)
    direction = _pair_variance(checked(pilot)) * ratio / freedom
    foreseen = Estimate(
        method="paired",
        centers=shares.values,
        covariance=direction * (np.eye(n) - 1 / n) + shares.anchors.variance / n**2,
        freedom=freedom,
        anchors=shares.anchors,
        runs=runs,
        portions=np.full(n, 1 / n),
    )
    return add_intervals(foreseen, level)


def _pair_variance(runs: RunTable) -> float:
    """The residual variance of a half difference, in units of the property squared."""
    anchors, pairs = anchors_of(runs), pairs_of(runs)
    # The fit's residual is that of rows times the root of their weight.
    weights = pair_rows(pairs, anchors).weights
    return fit_paired(pairs, anchors).residual / float(weights.mean())


def _row(shares: Shares, seconds: float | None) -> BudgetRow:
    from scipy.special import ndtr

    n, values = shares.players, shares.values
    reach = (shares.high - shares.low) / 2
    width, equal = float(reach.mean()), abs(float(values.mean()))
    spread = (2 * float(shares.covariance[0, 0] - shares.covariance[0, 1])) ** 0.5
    gaps = np.diff(np.sort(values)) / spread if spread > 0 else np.full(n - 1, np.inf)
    errors = np.where(shares.errors > 0, shares.errors, np.finfo(float).tiny)
    return BudgetRow(
        runs=shares.runs,
        half_width=width,
        relative=width / equal if equal else float("inf"),
        separated=float(ndtr(gaps - tukey(n, shares.freedom, shares.level)).sum()),
        hours=None if seconds is None else shares.runs * seconds / 3600,
        signs=float(ndtr((np.abs(values) - reach) / errors).sum()),
    )
