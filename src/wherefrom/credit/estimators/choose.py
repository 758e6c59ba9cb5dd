"""Shares by the name of a method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.marginal import (
    estimate_banzhaf,
    estimate_leave_one_out,
    estimate_permutation,
)
from wherefrom.credit.estimators.owen import estimate_owen, group_sums
from wherefrom.credit.estimators.paired import (
    LEVEL,
    estimate_exact,
    estimate_kernel_shap,
    estimate_paired,
)
from wherefrom.credit.estimators.tables import checked, enumerated, pairs_of, subsets_of
from wherefrom.credit.estimators.trees import estimate_paired_trees, estimate_trees
from wherefrom.credit.ledger.game import RunTable
from wherefrom.credit.result import Shares
from wherefrom.data.images.notebook import AsTable, Rows

METHODS = ("auto", "paired", "exact", "kernelshap", "permutation", "banzhaf", "loo", "owen",
           "trees", "paired-trees")  # fmt: skip


def estimate(
    table: RunTable,
    method: str = "auto",
    *,
    level: float = LEVEL,
    accept_shrinkage: bool = False,
    unions: Sequence[str] = (),
) -> Shares:
    """Shares of the players by `method`.

    `auto` is owen where they are in unions, exact where every subset was run, and paired elsewhere.
    """
    if method not in METHODS:
        raise InputError(f"the method is {method!r}; choose one of {', '.join(METHODS)}")
    if bool(unions) != (method == "owen"):
        if method != "auto":
            raise InputError(
                f"the method is {method!r}, and the players are {'' if unions else 'not '}in "
                "unions; the design owen goes with the method owen, and no other does"
            )
        method = "owen"
    if method == "owen":
        return estimate_owen(table, unions, level=level).players
    if method == "auto":
        runs = checked(table)
        method = "paired" if enumerated(runs) is None else "exact"
        if (
            method == "paired"
            and len(subsets_of(runs).values) > 2
            and not len(pairs_of(runs).halves)
        ):
            raise InputError(
                "the runs hold no subset with its complement, as the designs kernelshap and loo "
                "make them; name a method: kernelshap, or loo"
            )
    estimators: dict[str, Callable[..., Shares]] = {
        "paired": partial(estimate_paired, accept_shrinkage=accept_shrinkage),
        "exact": estimate_exact,
        "kernelshap": estimate_kernel_shap,
        "permutation": estimate_permutation,
        "banzhaf": estimate_banzhaf,
        "loo": estimate_leave_one_out,
        "trees": estimate_trees,
        "paired-trees": partial(estimate_paired_trees, accept_shrinkage=accept_shrinkage),
    }
    return estimators[method](table, level=level)


@dataclass(frozen=True)
class Credit(AsTable):
    """Shares and their names; where these are unions, `inside` has the shares of the players."""

    shares: Shares
    names: tuple[str, ...]
    inside: Credit | None = None

    @property
    def players(self) -> Credit:
        """The shares of the players of the game."""
        return self if self.inside is None else self.inside

    def rows(self) -> list[dict[str, Any]]:
        """One row per contributor: share, its interval, and the best and worst rank."""
        s = self.shares
        columns = {
            "contributor": self.names,
            "share": s.values.tolist(),
            "low": s.low.tolist(),
            "high": s.high.tolist(),
            "resolved": s.resolved.tolist(),
            "best rank": s.rank_low.tolist(),
            "worst rank": s.rank_high.tolist(),
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Names and shares as JSON values, with those inside unions under `inside`."""
        inside = {} if self.inside is None else {"inside": self.inside.to_dict()}
        return {"contributors": list(self.names), **self.shares.to_dict(), **inside}

    def as_table(self) -> tuple[Rows, str]:
        return self.rows(), f"Shares by {self.shares.method}"


def estimate_credit(
    table: RunTable,
    names: Sequence[str],
    method: str = "auto",
    *,
    unions: Sequence[str] = (),
    level: float = LEVEL,
    accept_shrinkage: bool = False,
) -> Credit:
    """Shares of the players, or of their unions with those of the players inside."""
    shares = estimate(table, method, level=level, accept_shrinkage=accept_shrinkage, unions=unions)
    players = Credit(shares, tuple(names))
    if not unions:
        return players
    sums = replace(group_sums(shares, unions, level=level), method="owen, between unions")
    return Credit(sums, tuple(dict.fromkeys(unions)), players)
