"""Does the cheap game stand for the dear one?  A certificate from a few full retrains."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import correlation, rank_correlation
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.intervals import share_result
from wherefrom.credit.estimators.paired import LEVEL, estimate_paired
from wherefrom.credit.estimators.tables import checked, pairs_of
from wherefrom.credit.game import RunTable, mask_of
from wherefrom.credit.result import Shares

MIN_MATCHES = 4


@dataclass(frozen=True)
class Certificate:
    """How the proxy compares on the subsets that were run in both games.

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
        """JSON values."""
        numbers = {k: v for k, v in asdict(self).items() if k != "corrected"}
        plain = {k: v if np.isfinite(v) else None for k, v in numbers.items()}
        return plain | {"corrected": self.corrected.to_dict()}


def certify_proxy(proxy: RunTable, truth: RunTable, *, level: float = LEVEL) -> Certificate:
    """Audit the cheap game `proxy` by the runs of the dear one, and correct its shares by them.

        v = proxy + (v - proxy),   so   phi = phi(proxy) + phi(v - proxy)

    The difference is a game of its own, known on few subsets, so its shares are shrunk.  `truth`
    needs the empty set, the full set, and at least one pair of a subset and its complement.
    """
    dear, cheap = checked(truth), checked(proxy)
    shares = estimate(cheap, level=level, accept_shrinkage=True)  # as a report has them
    means: dict[int, list[float]] = {}
    same: dict[tuple[int, int], float] = {}  # a run with the same seed is the nearest one
    for row, value, seed in zip(cheap.masks, cheap.values, cheap.seeds, strict=True):
        means.setdefault(mask_of(row), []).append(float(value))
        same[mask_of(row), int(seed)] = float(value)
    numbers = [mask_of(row) for row in dear.masks]
    both = [j for j, number in enumerate(numbers) if number in means]
    if len(both) < MIN_MATCHES:
        raise InputError(
            f"{len(both)} subsets were run in both games, expected at least {MIN_MATCHES}; "
            "retrain some subsets of the cheap game"
        )
    matched = dear.at(both)
    guess = np.array(
        [same.get((numbers[j], int(dear.seeds[j])), np.mean(means[numbers[j]])) for j in both]
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


def _sum(proxy: Shares, gap: Shares, level: float) -> Shares:
    """Shares of the sum of two games, their errors added as if independent."""
    anchors = proxy.anchors
    total = type(anchors)(
        empty=anchors.empty + gap.anchors.empty,
        full=anchors.full + gap.anchors.full,
        empty_runs=gap.anchors.empty_runs,
        full_runs=gap.anchors.full_runs,
        variance=anchors.variance + gap.anchors.variance,
        freedom=min(anchors.freedom, gap.anchors.freedom),
    )
    return share_result(
        f"{proxy.method}, corrected",
        proxy.centers + gap.centers,
        proxy.covariance + gap.covariance,
        min(proxy.freedom, gap.freedom),
        total,
        runs=proxy.runs + gap.runs,
        level=level,
        values=proxy.values + gap.values,
        shrinkage=max(proxy.shrinkage, gap.shrinkage),
        notes=("corrected by full retrains",),
        portions=gap.portions,
    )
