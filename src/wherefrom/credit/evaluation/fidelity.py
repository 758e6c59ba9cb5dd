"""How well a proxy game, such as fine-tuning, predicts full retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.saving.json_text import finite
from wherefrom.credit.equations import correlation, rank_correlation
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.intervals import Estimate, add_intervals
from wherefrom.credit.estimators.paired import LEVEL, estimate_paired
from wherefrom.credit.estimators.tables import checked, pairs_of, values_by_subset
from wherefrom.credit.ledger.game import RunTable, mask_of
from wherefrom.credit.result import Anchors, Shares

MIN_MATCHES = 4


@dataclass(frozen=True)
class Certificate:
    """Agreement of the proxy with full retraining on the subsets that were run in both games.

    `pearson`, `spearman`: of F.  `bias`, `spread`: mean and standard deviation of true less proxy.
    `share_pearson`: of the shares before and after correction.  `corrected`: the proxy's shares
    plus the shares of the difference; its intervals are infinite while the full retrains do not
    carry any.
    """

    matches: int
    pearson: float
    spearman: float
    bias: float
    spread: float
    share_pearson: float
    corrected: Shares

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; None for what is not finite."""
        numbers = {name: value for name, value in vars(self).items() if name != "corrected"}
        report: dict[str, Any] = finite(numbers)
        return report | {"corrected": self.corrected.to_dict()}


def certify_proxy(proxy: RunTable, truth: RunTable, *, level: float = LEVEL) -> Certificate:
    """Compare the runs of the proxy game with those of full retraining, and correct its shares.

        v = proxy + (v - proxy),   so   phi = phi(proxy) + phi(v - proxy)

    The difference is a game of its own, known on few subsets, so its shares are shrunk.  `truth`
    needs the empty set, the full set, and at least one pair of a subset and its complement.
    """
    retrained, cheap = checked(truth), checked(proxy)
    shares = estimate(cheap, level=level, accept_shrinkage=True)  # as a report has them
    means = values_by_subset(cheap)
    # A run with the same seed is the nearest to a retrained one.
    cells = zip(cheap.masks, cheap.values, cheap.seeds, strict=True)
    same = {(mask_of(row), int(seed)): float(value) for row, value, seed in cells}
    numbers = [mask_of(row) for row in retrained.masks]
    both = [j for j, number in enumerate(numbers) if number in means]
    if len(both) < MIN_MATCHES:
        raise InputError(
            f"{len(both)} subsets were run in both games, expected at least {MIN_MATCHES}; "
            "retrain some of the proxy's subsets"
        )
    matched = retrained.at(both)
    guess = np.array(
        [same.get((numbers[j], int(retrained.seeds[j])), np.mean(means[numbers[j]])) for j in both]
    )
    rest = matched._replace(values=matched.values - guess)
    if not len(pairs_of(rest).halves):
        raise InputError("no subset was retrained together with its complement; retrain pairs")
    gap = estimate_paired(rest, level=level, accept_shrinkage=True)
    corrected = _sum(shares, gap, level)
    return Certificate(
        matches=len(both),
        pearson=correlation(guess, matched.values),
        spearman=rank_correlation(guess, matched.values),
        bias=float(rest.values.mean()),
        spread=float(rest.values.std(ddof=1)),
        share_pearson=correlation(shares.values, corrected.values),
        corrected=corrected,
    )


def require_same_contributors(names: Sequence[str], others: Sequence[str]) -> None:
    """An `InputError` unless two studies have the same contributors, in the same order."""
    if list(names) != list(others):
        raise InputError("the two studies have other contributors; both need the same data")


def _sum(proxy: Shares, gap: Shares, level: float) -> Shares:
    """Shares of the sum of two games, their errors added as if independent."""
    anchors = proxy.anchors
    total = Anchors(
        empty=anchors.empty + gap.anchors.empty,
        full=anchors.full + gap.anchors.full,
        empty_runs=gap.anchors.empty_runs,
        full_runs=gap.anchors.full_runs,
        variance=anchors.variance + gap.anchors.variance,
        freedom=min(anchors.freedom, gap.anchors.freedom),
    )
    corrected = Estimate(
        method=f"{proxy.method}, corrected",
        centers=proxy.centers + gap.centers,
        covariance=proxy.covariance + gap.covariance,
        freedom=min(proxy.freedom, gap.freedom),
        anchors=total,
        runs=proxy.runs + gap.runs,
        values=proxy.values + gap.values,
        shrinkage=max(proxy.shrinkage, gap.shrinkage),
        notes=("corrected by full retrains",),
        portions=gap.portions,
    )
    return add_intervals(corrected, level)
