"""Shares by the name of a method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators import (
    LEVEL,
    MAX_ENUMERATED,
    estimate_exact,
    estimate_kernel_shap,
    estimate_paired,
)
from wherefrom.credit.estimators_marginal import (
    estimate_banzhaf,
    estimate_leave_one_out,
    estimate_permutation,
)
from wherefrom.credit.game import RunTable
from wherefrom.credit.result import Shares
from wherefrom.credit.runs import checked, enumerated

METHODS = ("auto", "paired", "exact", "kernelshap", "permutation", "banzhaf", "loo")


def estimate(
    table: RunTable, method: str = "auto", *, level: float = LEVEL, accept_shrinkage: bool = False
) -> Shares:
    """Shares by `method`; `auto` is exact where every subset was run, and paired elsewhere."""
    if method not in METHODS:
        raise InputError(f"the method is {method!r}; choose one of {', '.join(METHODS)}")
    if method == "auto":
        runs = checked(table)
        small = runs.masks.shape[1] <= MAX_ENUMERATED
        method = "exact" if small and enumerated(runs) is not None else "paired"
    estimators: dict[str, Callable[..., Shares]] = {
        "paired": partial(estimate_paired, accept_shrinkage=accept_shrinkage),
        "exact": estimate_exact,
        "kernelshap": estimate_kernel_shap,
        "permutation": estimate_permutation,
        "banzhaf": estimate_banzhaf,
        "loo": estimate_leave_one_out,
    }
    return estimators[method](table, level=level)
