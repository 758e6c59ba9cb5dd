"""The audit of a study: axioms, agreement with full retraining, and splits of a contributor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from wherefrom.core.errors import InputError
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.paired import LEVEL
from wherefrom.credit.evaluation.audit import (
    AuditRow,
    SplitReport,
    audit_shares,
    compare_split,
    twins_of,
)
from wherefrom.credit.evaluation.fidelity import (
    Certificate,
    certify_proxy,
    require_same_contributors,
)
from wherefrom.credit.finished import FinishedRuns, finished_runs
from wherefrom.credit.game import RunTable
from wherefrom.data.notebook import rows_as_frame, rows_as_html


class SplitGame(NamedTuple):
    """The runs of a game where `player` of the first study is registered as several `parts`."""

    runs: FinishedRuns
    player: str
    parts: Sequence[str]


@dataclass(frozen=True)
class StudyAudit:
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

    def to_dataframe(self) -> Any:
        """The checks as a pandas frame, one line each."""
        return rows_as_frame([row.to_dict() for row in self.checks])

    def _repr_html_(self) -> str:
        return rows_as_html([row.to_dict() for row in self.checks], caption="Checks of the shares")


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
