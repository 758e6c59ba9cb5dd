"""Checks of the axioms of shares from the finished runs, and the audit of a whole study.

The audit of a study adds agreement with full retraining, and splits of a contributor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from wherefrom.core.errors import InputError
from wherefrom.core.saving.json_text import finite
from wherefrom.core.saving.store import digest_bytes
from wherefrom.credit.contributors.reading import Contributors
from wherefrom.credit.equations import clone_shares, shapley_value
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.intervals import bonferroni, mixed_freedom, tukey
from wherefrom.credit.estimators.paired import LEVEL, estimate_paired
from wherefrom.credit.estimators.tables import anchors_of, checked, enumerated, pairs_of
from wherefrom.credit.evaluation.fidelity import (
    Certificate,
    certify_proxy,
    require_same_contributors,
)
from wherefrom.credit.ledger.game import Floats, RunTable
from wherefrom.credit.method import FinishedRuns, finished_runs
from wherefrom.credit.result import Shares
from wherefrom.data.images.notebook import AsTable, Rows

EFFICIENT = ("exact", "paired", "kernelshap", "permutation", "owen")  # whatever the runs are
EXACT = 1e-9  # of the largest value: what float64 leaves of an identity


@dataclass(frozen=True)
class AuditRow:
    """One check: whether it `held`, None where these runs cannot tell, and the compared `value`.

    `construction`: the estimator cannot break it, whatever the runs are.
    """

    check: str
    held: bool | None
    value: float | None
    says: str
    construction: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def audit_shares(
    table: RunTable,
    names: Sequence[str],
    *,
    other: RunTable | None = None,
    level: float = LEVEL,
    method: str = "auto",
    unions: Sequence[str] = (),
    twins: Sequence[tuple[int, int]] = (),
    without: Sequence[int] = (),
) -> list[AuditRow]:
    """The axioms of the shares that a report shows, of the same `method`.

    Efficiency and linearity (with the runs scored under an `other` property), symmetry of `twins`
    (pairs of the same data), nothing for players `without` influence, agreement of halves of the
    runs, and what a second identity would gain.
    """
    runs = checked(table)
    shares = estimate(runs, method, level=level, accept_shrinkage=True, unions=unions)
    rows = [check_efficiency(shares)]
    if other is not None:
        rows.append(check_linearity(runs, checked(other), level, shares.method, unions))
    rows += [check_symmetry(shares, pair, names, len(twins)) for pair in twins]
    rows += [check_dummy(shares, player, names, len(without)) for player in without]
    if not unions:
        rows.append(check_halves(runs, level))
    rows += check_clones(runs, names)
    return rows


def check_symmetry(
    shares: Shares, pair: tuple[int, int], names: Sequence[str], count: int
) -> AuditRow:
    """Two contributors with the same data get the same; `count` such checks hold at once."""
    pull = np.zeros(shares.players)
    pull[list(pair)] = 1, -1
    says = " and ".join(names[i] for i in pair) + " gave the same data"
    return _zero("symmetry", shares, pull, count, says)


def check_dummy(shares: Shares, player: int, names: Sequence[str], count: int) -> AuditRow:
    """A contributor without influence gets nothing."""
    pull = np.eye(shares.players)[player]
    return _zero("dummy", shares, pull, count, f"{names[player]} has no influence")


def _zero(check: str, shares: Shares, pull: Floats, count: int, says: str) -> AuditRow:
    """Whether the interval of a sum of shares contains zero."""
    value = float(pull @ shares.centers)
    variance = float(pull @ shares.covariance @ pull)
    if shares.freedom < 1 or not np.isfinite(variance):
        return AuditRow(check, None, value, f"{says}: these runs carry no interval")
    freedom = float(shares.freedom)
    if shares.portions is not None:  # the gain's noise has degrees of freedom of its own
        part = float(pull @ shares.portions) ** 2 * shares.anchors.variance
        both = np.array([variance]), np.array([part])
        freedom = float(mixed_freedom(*both, shares.freedom, shares.anchors.freedom)[0])
    reach = bonferroni(max(count, 1), freedom, shares.level) * max(variance, 0.0) ** 0.5
    edge = EXACT * float(np.abs(shares.centers).max())
    return AuditRow(check, abs(value) <= reach + edge, value, f"{says}: within {reach:.4g} of 0")


def check_efficiency(shares: Shares) -> AuditRow:
    """The shares add up to the gain of all contributors together."""
    gap = float(shares.values.sum() - shares.anchors.gain)
    scale = max(abs(shares.anchors.full), abs(shares.anchors.empty), 1e-300)
    return AuditRow(
        "efficiency",
        abs(gap) <= EXACT * scale,
        gap,
        f"shares by {shares.method} add up to the gain of all the data",
        shares.method in EFFICIENT,
    )


def check_linearity(
    first: RunTable,
    second: RunTable,
    level: float,
    method: str = "paired",
    unions: Sequence[str] = (),
) -> AuditRow:
    """The shares of a sum of two properties are the sum of their shares, before shrinkage."""
    same = np.array_equal(first.masks, second.masks) and np.array_equal(first.seeds, second.seeds)
    if not same:
        return AuditRow("linearity", None, None, "the two properties were not scored on all runs")
    total = first._replace(values=first.values + second.values)
    whole, *parts = (
        estimate(each, method, level=level, accept_shrinkage=True, unions=unions).centers
        for each in (total, first, second)
    )
    gap = float(np.abs(whole - parts[0] - parts[1]).max())
    scale = float(np.abs(total.values).max())
    says = f"shares by {method} of two properties add up to those of their sum"
    return AuditRow("linearity", gap <= 1e-6 * scale, gap, says, construction=True)


def check_halves(runs: RunTable, level: float) -> AuditRow:
    """Two halves of the pairs, each estimated alone, differ by no more than intervals allow."""
    says = "every second pair gives the same shares as the rest, within their intervals"
    seeds = np.unique(runs.seeds)
    sizes = runs.masks.sum(axis=1)
    ends = (sizes == 0) | (sizes == runs.masks.shape[1])
    parts = [runs.at(ends | np.isin(runs.seeds, seeds[half::2])) for half in range(2)]
    needed = runs.masks.shape[1] + 2
    if min(len(pairs_of(part).halves) for part in parts) < needed:
        return AuditRow("halves agree", None, None, says)
    halves = [estimate_paired(part, level=level) for part in parts]
    # Anchors are shared, so only what differs from the equal split is compared.
    n = runs.masks.shape[1]
    shared = anchors_of(runs).variance / n**2
    variance = sum(np.diag(each.covariance) for each in halves) - 2 * np.nan_to_num(shared)
    freedom = min(each.freedom for each in halves)
    if freedom < 1:
        return AuditRow("halves agree", None, None, says)
    apart = np.abs(halves[0].centers - halves[1].centers) / np.sqrt(variance.clip(min=1e-300))
    worst = float(apart.max())
    return AuditRow("halves agree", worst <= tukey(max(n, 2), freedom, level), worst, says)


def check_clones(runs: RunTable, names: Sequence[str]) -> list[AuditRow]:
    """What each contributor would gain by registering the same data under a second name.

    Nothing has to be trained for that: both names together add what one adds.  Needs every subset.
    """
    n = runs.masks.shape[1]
    game = enumerated(runs)
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


def twins_of(data: Contributors) -> list[tuple[int, int]]:
    """Pairs of players who gave the same images, by their pixels, each as often."""
    players: dict[tuple[str, ...], list[int]] = {}
    for player in range(data.players):
        images = data.images[data.owner == player]
        key = tuple(sorted(digest_bytes(image.numpy().tobytes()) for image in images))
        players.setdefault(key, []).append(player)
    return [(same[0], other) for same in players.values() for other in same[1:]]


@dataclass(frozen=True)
class SplitReport:
    """The share of a contributor, and of the parts of it that are registered in a second game.

    `resolved`: the interval of the change excludes zero.
    """

    name: str
    before: float
    after: float
    change: float
    error: float
    resolved: bool

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; None for what is not finite."""
        report: dict[str, Any] = finite(asdict(self))
        return report


def compare_split(
    before: Shares, after: Shares, player: int, parts: Sequence[int], name: str
) -> SplitReport:
    """Shares of a contributor against those of its parts in the game where it is split.

    The two games are estimated from runs of their own, so their errors add.
    """
    if after.players != before.players + len(parts) - 1:
        raise InputError(
            f"the split game has {after.players} contributors, expected "
            f"{before.players + len(parts) - 1}"
        )
    pull = np.isin(np.arange(after.players), parts).astype(np.float64)
    variance = float(before.covariance[player, player] + pull @ after.covariance @ pull)
    freedom = min(before.freedom, after.freedom)
    change = float(after.centers @ pull - before.centers[player])
    error = variance**0.5 if freedom else float("nan")
    known = freedom >= 1 and np.isfinite(error)
    resolved = bool(known and abs(change) > bonferroni(1, freedom, before.level) * error)
    alone, together = float(before.values[player]), float(after.values @ pull)
    return SplitReport(name, alone, together, change, error, resolved)


class SplitGame(NamedTuple):
    """The runs of a game where `player` of the first study is registered as several `parts`."""

    runs: FinishedRuns
    player: str
    parts: Sequence[str]


@dataclass(frozen=True)
class StudyAudit(AsTable):
    """Checks of axioms, and the comparisons with retraining and with a split, None if not asked."""

    checks: tuple[AuditRow, ...]
    certificate: Certificate | None
    split: SplitReport | None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, without the comparisons that were not asked for."""
        audit: dict[str, Any] = {"checks": [row.to_dict() for row in self.checks]}
        if self.certificate is not None:
            audit["certificate"] = self.certificate.to_dict()
        if self.split is not None:
            audit["split"] = self.split.to_dict()
        return audit

    def as_table(self) -> tuple[Rows, str]:
        return [row.to_dict() for row in self.checks], "Checks of the shares"


def audit_study(
    runs: FinishedRuns,
    *,
    method: str = "auto",
    level: float = LEVEL,
    powerless: Sequence[str] = (),
    clone: FinishedRuns | None = None,
    truth: FinishedRuns | None = None,
    split: SplitGame | None = None,
) -> StudyAudit:
    """Check the shares of a study by `method`.

    `powerless`: contributors that are known to have no influence.  `clone`: a game where two
    contributors gave the same images.  `truth`: the game of full retraining, which the study's own
    stands for.  `InputError` for an unknown name, a clone without such a pair, or a `truth` of
    other contributors.
    """
    others = [each for each in runs.opened.specs if each != runs.name]
    other = finished_runs(runs.opened, others[0]).table if others else None
    rows = _check_axioms(runs, other, method, level, powerless)
    if clone is not None:
        twins = _check_axioms(clone, None, method, level)
        symmetries = [row for row in twins if row.check == "symmetry"]
        if not symmetries:
            raise InputError(
                f"{clone.opened.study.path}: no two contributors gave the same images; copy the "
                "folder of one under a second name, and run that study"
            )
        rows += symmetries
    if truth is not None:
        require_same_contributors(runs.names, truth.names)
    return StudyAudit(
        tuple(rows),
        None if truth is None else certify_proxy(runs.table, truth.table, level=level),
        None if split is None else _compare_split(runs, split, level),
    )


def _check_axioms(
    runs: FinishedRuns,
    other: RunTable | None,
    method: str,
    level: float,
    powerless: Sequence[str] = (),
) -> list[AuditRow]:
    unknown = [name for name in powerless if name not in runs.names]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is no contributor; expected one of {', '.join(runs.names[:5])} ..."
        )
    data = runs.opened.data
    return audit_shares(
        runs.table,
        runs.names,
        other=other,
        level=level,
        method=method,
        unions=data.unions,
        twins=twins_of(data),
        without=[runs.names.index(name) for name in powerless],
    )


def _compare_split(runs: FinishedRuns, split: SplitGame, level: float) -> SplitReport:
    names = split.runs.names
    missing = [part for part in split.parts if part not in names]
    if split.player not in runs.names or missing:
        raise InputError(
            f"a split needs a contributor of the first study, and its names in the second; given "
            f"{split.player!r} as {', '.join(split.parts)}; not in the second: "
            f"{', '.join(missing) or 'none'}"
        )
    return compare_split(
        estimate(runs.table, level=level),
        estimate(split.runs.table, level=level),
        runs.names.index(split.player),
        [names.index(part) for part in split.parts],
        split.player,
    )
