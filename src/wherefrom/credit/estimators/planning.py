"""Expected width of the intervals for a number of runs, from the runs of a pilot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.design import ANCHOR_RUNS
from wherefrom.credit.estimators.intervals import bonferroni, gain_level, tukey
from wherefrom.credit.estimators.kernel_shap_weights import half_sizes, pair_kernel, pair_law
from wherefrom.credit.estimators.paired import LEVEL, estimate_paired, fit_paired, pair_rows
from wherefrom.credit.estimators.tables import anchors_of, checked, pairs_of
from wherefrom.credit.ledger.game import Floats, RunTable

SIZE_TERMS = 2  # coefficients of `size_features`
RUNS_PER_GROUP = 4  # a budget resolves about a quarter as many contributors as it has runs


@dataclass(frozen=True)
class BudgetRow:
    """Expected precision of `runs` runs, anchors not counted.

    `half_width`: expected half-width of the simultaneous intervals, in units of the property;
    `relative`: over the equal split.  `separated`: expected number of neighbours in the ranking,
    of n - 1 pairs, that would be told apart.  `hours` is None where no run was timed.
    """

    runs: int
    half_width: float
    relative: float
    separated: float
    hours: float | None


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
    # The fit's residual is that of rows times the root of their weight.
    sigma2 = fit.residual / float(pair_rows(pairs, anchors).weights.mean())
    wanted = list(budgets) or [2 ** (j + 2) * n for j in range(5)]
    rows = [
        _row(budget, n, sigma2, shares.values, level, seconds_per_run)
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


def _row(
    budget: int, n: int, sigma2: float, values: Floats, level: float, seconds: float | None
) -> BudgetRow:
    from scipy.special import ndtr

    law, weight = pair_law(n), pair_kernel(n) / pair_law(n)
    energy = half_sizes(n) * (n - half_sizes(n)) / (n * (n - 1))
    ratio = float((law * weight**2 * energy).sum() / (law * weight * energy).sum() ** 2)
    freedom = budget // 2 - (n - 1) - SIZE_TERMS
    direction = sigma2 * ratio / freedom
    width = bonferroni(n, freedom, level) * ((1 - 1 / n) * direction) ** 0.5
    spread = (2 * direction) ** 0.5
    gaps = np.diff(np.sort(values)) / spread if spread > 0 else np.full(n - 1, np.inf)
    equal = abs(float(values.mean()))
    return BudgetRow(
        runs=budget,
        half_width=width,
        relative=width / equal if equal else float("inf"),
        separated=float(ndtr(gaps - tukey(n, freedom, level)).sum()),
        hours=None if seconds is None else budget * seconds / 3600,
    )
