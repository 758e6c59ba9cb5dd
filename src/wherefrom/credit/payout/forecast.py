"""What a study would pay after a number of runs, and what to measure and estimate, from a pilot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.estimators.planning import (
    RUNS_PER_GROUP,
    BudgetRow,
    RunsPlan,
    foreseen_shares,
)
from wherefrom.credit.evaluation.foresight import plan_study
from wherefrom.credit.ledger.game import MAX_ENUMERATED
from wherefrom.credit.method import FinishedRuns, OpenStudy, finished_runs
from wherefrom.credit.payout.division import divide_pool
from wherefrom.credit.result import Shares
from wherefrom.credit.study.cost import Cost
from wherefrom.credit.study.diffusion_run import DiffusionPlay

POOL = "1000000.00"
RESOLVING = 0.5  # part of the contributors whose sign should be known


def paid_part(shares: Shares) -> float:
    """The part of a pool that a first payout by these shares pays; 0 where it would refuse."""
    names = [str(player) for player in range(shares.players)]
    try:
        payout = divide_pool(shares, names, POOL)
    except InputError:
        return 0.0
    return sum(payment.paid for payment in payout.payments) / payout.pool


def forecast(runs: FinishedRuns, budgets: Sequence[int] = (), *, level: float = LEVEL) -> RunsPlan:
    """`plan_study`, with what a first payout would pay, and the disk that the runs take."""
    plan, each = plan_study(runs, budgets, level=level), bytes_per_run(runs.opened)

    def filled(row: BudgetRow) -> BudgetRow:
        paid = paid_part(foreseen_shares(runs.table, row.runs, level=level))
        return replace(row, paid=paid, bytes=None if each is None else row.runs * each)

    return replace(plan, rows=tuple(filled(row) for row in plan.rows))


def bytes_per_run(opened: OpenStudy) -> int | None:
    """Mean size of the saved runs in bytes; None where none is saved."""
    if not isinstance(opened.play, DiffusionPlay) or not opened.play.outputs.is_dir():
        return None
    runs = [place for place in opened.play.outputs.iterdir() if place.is_dir()]
    sizes = [file.stat().st_size for place in runs for file in place.iterdir() if file.is_file()]
    return sum(sizes) // len(runs) if runs else None


class Advice(NamedTuple):
    """A recommended setting, and the reason."""

    setting: str
    value: str
    reason: str

    def line(self) -> str:
        """The advice in one sentence."""
        return f"{self.setting}: {self.value}, because {self.reason}"


@dataclass(frozen=True)
class _Candidate:
    name: str
    plan: RunsPlan
    row: BudgetRow


def recommend(
    opened: OpenStudy, *, cost: Cost | None = None, level: float = LEVEL
) -> tuple[Advice, ...]:
    """The property, the estimator and, with a measured `cost`, the game to use for this study.

    The property is that of which the study's runs would pay most, then resolve most.  Properties
    whose pilot has too few runs are passed over; nothing is said where that leaves none.
    """
    runs = opened.study.config.design.runs
    candidates = []
    for name in opened.specs:
        try:
            plan = forecast(finished_runs(opened, name), (runs,), level=level)
        except InputError:
            continue
        candidates += [_Candidate(name, plan, row) for row in plan.rows]
    if not candidates:
        return ()
    best = max(candidates, key=lambda each: (each.row.paid or 0.0, each.row.signs))
    advice = [_property(best, candidates), _estimator(opened, best)]
    return (*advice, *([] if cost is None else _game(opened, cost)))


def _property(best: _Candidate, candidates: Sequence[_Candidate]) -> Advice:
    said = [
        f"{each.row.paid or 0:.0%} of a pool and {each.row.signs:.2g} of "
        f"{each.plan.players} signs by {each.name}"
        for each in candidates
    ]
    reason = f"{best.row.runs} runs would pay and resolve {', '.join(said)}"
    return Advice("property", best.name, reason)


def _estimator(opened: OpenStudy, best: _Candidate) -> Advice:
    n, runs = best.plan.players, best.row.runs
    if n <= MAX_ENUMERATED and runs >= 2**n:
        return Advice("estimator", "exact", f"{runs} runs hold each of the {2**n} subsets")
    if best.row.signs < RESOLVING * n and not opened.data.origin:
        groups = max(2, min(n - 1, runs // RUNS_PER_GROUP) // 2)
        reason = (
            f"{runs} runs would resolve about {best.row.signs:.2g} of {n} signs; groups of "
            "contributors are known better than each"
        )
        return Advice("estimator", f'paired, with groups = "{groups}"', reason)
    return Advice("estimator", "paired", "it has intervals, by which money can be divided")


def _game(opened: OpenStudy, cost: Cost) -> list[Advice]:
    kind, runs = opened.study.config.game.kind, opened.study.config.design.runs
    if cost.retraining is None or kind in ("retrain", "callable"):
        return []
    proxy, whole = cost.hours(runs), runs * cost.retraining
    if whole <= proxy:
        reason = f"retraining {runs} subsets takes {whole:.2g} hours, {kind} {proxy:.2g}"
        return [Advice("game", "retrain", f"{reason}, and a proxy can err")]
    reason = (
        f"{runs} runs take {proxy:.2g} hours, retraining {whole:.2g}; `audit --truth` tells how "
        "well it predicts retraining"
    )
    return [Advice("game", kind, reason)]
