"""The finished runs of one property of a study, and the shares that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.credit.estimators.choose import Credit, estimate_credit
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.ledger.game import RunTable
from wherefrom.credit.method import OpenStudy

MAX_REPLICATES = 100  # training seeds of a subset in an evaluation
LDS_SEEDS, COUNTERFACTUAL_SEEDS = "credit lds run", "credit counterfactual"


@dataclass(frozen=True, eq=False)
class FinishedRuns:
    """The runs that shares of the property `name` rest on.

    `seconds`: mean seconds of a run, None if runs were not timed.
    """

    opened: OpenStudy
    name: str
    table: RunTable
    seconds: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """The players, in order."""
        return self.opened.data.names

    def credit(
        self, method: str = "auto", *, level: float = 0.95, accept_shrinkage: bool = False
    ) -> Credit:
        """Shares by a method; in the design owen those of the unions, with the players inside."""
        return estimate_credit(
            self.table,
            self.names,
            method,
            unions=self.opened.data.unions,
            level=level,
            accept_shrinkage=accept_shrinkage,
        )


def finished_runs(opened: OpenStudy, name: str | None = None) -> FinishedRuns:
    """Read the finished runs of a property, by default the study's first, from the ledger.

    `InputError` for an unknown property, or if every run has failed.
    """
    chosen = next(iter(opened.specs)) if name is None else name
    if chosen not in opened.specs:
        raise InputError(
            f"the study measures no property {chosen!r}; it has {', '.join(opened.specs)}"
        )
    with opened.ledger(readonly=True) as ledger:
        table = ledger.runs(chosen)
        spent = [detail.get("seconds") for _, run, detail in ledger.details() if run.values]
        failed = [each.error for each in ledger.problems() if each.what in (chosen, "run")]
    if failed and not len(table.values):
        raise InputError(f"no run has a value of {chosen!r}; the first problem was: {failed[0]}")
    timed = [sum(each.values()) for each in spent if each]
    seconds = sum(timed) / len(timed) if timed else None
    table = without_evaluation(table, opened.study.config.study.seed)
    return FinishedRuns(opened, chosen, table, seconds)


def shares(
    study: OpenStudy,
    *,
    property: str | None = None,  # noqa: A002 (the word of the study file)
    method: str = "auto",
    level: float = LEVEL,
    accept_shrinkage: bool = False,
) -> Credit:
    """Each contributor's share of a property, by default the study's first, from finished runs.

    `level`: probability that the intervals hold for all contributors at once.  `accept_shrinkage`:
    allow fewer than 2 (n - 1) runs; shares are then drawn toward the equal split.
    """
    finished = finished_runs(study, property)
    return finished.credit(method, level=level, accept_shrinkage=accept_shrinkage)


def without_evaluation(table: RunTable, seed: int) -> RunTable:
    """The runs of the design alone, without those that were made to evaluate shares.

    The evaluation's subsets are chosen by size, or by who seemed to matter, and not by the law of
    the design; and shares that were paid out must not move because they were evaluated.  Its runs
    are known by their seeds, which no design uses.
    """
    seeds = [
        derive_seed(seed, name, replicate)
        for name in (LDS_SEEDS, COUNTERFACTUAL_SEEDS)
        for replicate in range(MAX_REPLICATES)
    ]
    return table.at(~np.isin(table.seeds, np.array(seeds, dtype=np.int64)))
