"""Do the shares keep the axioms that they are sold with?  Checks from the finished runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import clone_shares, shapley_value
from wherefrom.credit.estimators import LEVEL, MAX_ENUMERATED, estimate_paired
from wherefrom.credit.game import RunTable
from wherefrom.credit.intervals import tukey
from wherefrom.credit.result import Shares
from wherefrom.credit.runs import anchors_of, checked, enumerated, pairs_of

EXACT = 1e-9  # of the largest value: what float64 leaves of an identity


@dataclass(frozen=True)
class AuditRow:
    """One check.  `held` is None where these runs cannot tell; `value` is what was compared."""

    check: str
    held: bool | None
    value: float | None
    says: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def audit_shares(
    table: RunTable,
    names: Sequence[str],
    *,
    other: RunTable | None = None,
    level: float = LEVEL,
) -> list[AuditRow]:
    """Efficiency, linearity (with the runs scored under an `other` property), agreement of halves
    of the runs, and what a second identity would gain.
    """
    runs = checked(table)
    shares = estimate_paired(runs, level=level, accept_shrinkage=True)
    rows = [efficiency(shares)]
    if other is not None:
        rows.append(linearity(runs, checked(other), level))
    rows.append(halves_agree(runs, level))
    rows += clone_rows(runs, names)
    return rows


def efficiency(shares: Shares) -> AuditRow:
    """The shares add up to what all contributors together are worth."""
    gap = float(shares.values.sum() - shares.anchors.gain)
    scale = max(abs(shares.anchors.full), abs(shares.anchors.empty), 1e-300)
    return AuditRow(
        "efficiency", abs(gap) <= EXACT * scale, gap, "shares add up to the gain of all the data"
    )


def linearity(one: RunTable, other: RunTable, level: float) -> AuditRow:
    """The shares of a sum of two properties are the sum of their shares, before shrinkage."""
    if not (np.array_equal(one.masks, other.masks) and np.array_equal(one.seeds, other.seeds)):
        return AuditRow("linearity", None, None, "the two properties were not scored on all runs")
    total = one._replace(values=one.values + other.values)
    parts = [
        estimate_paired(each, level=level, accept_shrinkage=True).centers for each in (one, other)
    ]
    whole = estimate_paired(total, level=level, accept_shrinkage=True).centers
    gap = float(np.abs(whole - parts[0] - parts[1]).max())
    scale = float(np.abs(total.values).max())
    says = "shares of two properties add up to those of their sum"
    return AuditRow("linearity", gap <= 1e-6 * scale, gap, says)


def halves_agree(runs: RunTable, level: float) -> AuditRow:
    """Two halves of the pairs, estimated apart, differ by no more than their intervals allow."""
    says = "every second pair gives the same shares as the rest, within their intervals"
    seeds = np.unique(runs.seeds)
    sizes = runs.masks.sum(axis=1)
    ends = (sizes == 0) | (sizes == runs.masks.shape[1])
    parts = [runs.at(ends | np.isin(runs.seeds, seeds[half::2])) for half in range(2)]
    needed = runs.masks.shape[1] + 2
    if min(len(pairs_of(part).halves) for part in parts) < needed:
        return AuditRow("halves agree", None, None, says)
    found = [estimate_paired(part, level=level) for part in parts]
    # Anchors are shared, so only what differs from the equal split is compared.
    n = runs.masks.shape[1]
    shared = anchors_of(runs).variance / n**2
    variance = sum(np.diag(each.covariance) for each in found) - 2 * np.nan_to_num(shared)
    freedom = min(each.freedom for each in found)
    if freedom < 1:
        return AuditRow("halves agree", None, None, says)
    apart = np.abs(found[0].centers - found[1].centers) / np.sqrt(variance.clip(min=1e-300))
    worst = float(apart.max())
    return AuditRow("halves agree", worst <= tukey(max(n, 2), freedom, level), worst, says)


def clone_rows(runs: RunTable, names: Sequence[str]) -> list[AuditRow]:
    """What each contributor would gain by registering the same data under a second name.

    Nothing has to be trained for that: both names together add what one adds.  Needs every subset.
    """
    n = runs.masks.shape[1]
    game = enumerated(runs) if n <= MAX_ENUMERATED else None
    says = "registering the same data twice gains nothing"
    if game is None:
        return [AuditRow("second identity", None, None, f"{says}: needs every subset")]
    alone = shapley_value(game.values)
    gains = np.array([clone_shares(game.values, i) - alone[i] for i in range(n)])
    scale = float(np.abs(game.values).max())
    worst = int(np.argmax(gains))
    return [
        AuditRow(
            "second identity",
            bool(gains[worst] <= EXACT * scale),
            float(gains[worst]),
            f"{says}; {names[worst]} would gain most",
        )
    ]


@dataclass(frozen=True)
class SplitReport:
    """One contributor registered as two: what the parts get together, and the change for it.

    `resolved`: the interval of the change excludes zero.
    """

    name: str
    before: float
    after: float
    change: float
    error: float
    resolved: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not finite is None."""
        return {
            k: None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in asdict(self).items()
        }


def compare_split(
    before: Shares, after: Shares, player: int, parts: Sequence[int], name: str
) -> SplitReport:
    """Shares of a contributor against those of its parts in the game where it is split.

    The two games are estimated from runs of their own, so their errors add.
    """
    from scipy.stats import t

    if after.players != before.players + len(parts) - 1:
        raise InputError(
            f"the split game has {after.players} contributors, expected "
            f"{before.players + len(parts) - 1}"
        )
    pull = np.isin(np.arange(after.players), parts).astype(np.float64)
    one, two = float(before.values[player]), float(after.values @ pull)
    variance = float(before.covariance[player, player] + pull @ after.covariance @ pull)
    freedom = min(before.freedom, after.freedom)
    change = float(after.centers @ pull - before.centers[player])
    error = variance**0.5 if freedom else float("nan")
    known = freedom >= 1 and np.isfinite(error)
    resolved = bool(known and abs(change) > t.ppf((1 + before.level) / 2, freedom) * error)
    return SplitReport(name, one, two, change, error, resolved)
