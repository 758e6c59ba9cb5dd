"""The shares of a study with what a report shows beside them: groups, remarks, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wherefrom.credit.contributors.grouping import choose_groups
from wherefrom.credit.diffusion.properties import PixelEmbedder
from wherefrom.credit.estimators.choose import Credit
from wherefrom.credit.estimators.owen import group_sums
from wherefrom.credit.evaluation.portrait import portray
from wherefrom.credit.evaluation.remarks import division_lines, study_remarks
from wherefrom.credit.method import FinishedRuns
from wherefrom.credit.result import Shares
from wherefrom.report.credit.page import basis_of, facts_of, inside_section, write_credit_report
from wherefrom.report.credit.pictures import picture_sections
from wherefrom.report.credit.tables import shares_table
from wherefrom.report.pages.tables import Table


class GroupSums(NamedTuple):
    """Sums of shares by group."""

    shares: Shares
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class StudyShares:
    """Shares from finished runs, the sums of groups if asked for, and remarks on the study."""

    runs: FinishedRuns
    credit: Credit
    groups: GroupSums | None
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        shares, inside = self.credit.shares.to_dict(), self.credit.inside
        report = {"property": self.runs.name, "contributors": self.credit.names, **shares}
        report |= {"remarks": list(self.remarks), **facts_of(self.runs)}
        if self.groups is not None:
            report["groups"] = {"names": self.groups.names, **self.groups.shares.to_dict()}
        if inside is not None:
            unions = self.runs.opened.data.unions
            report["inside"] = {"names": inside.names, "unions": unions, **inside.shares.to_dict()}
        return report

    def tables(self) -> list[Table]:
        """The shares, those of the players inside unions, and the sums of groups."""
        inside = self.credit.inside
        tables = [shares_table(self.credit.shares, self.credit.names)]
        tables += [] if inside is None else [shares_table(inside.shares, inside.names)]
        return tables + ([] if self.groups is None else [shares_table(*self.groups)])


def report_shares(runs: FinishedRuns, credit: Credit, *, groups: str | None = None) -> StudyShares:
    """The report of `credit`, which was estimated from `runs`.

    `groups`: how many groups of like data, or a CSV file of contributor and group.
    """
    remarks = (*study_remarks(runs.opened), *division_lines(runs.opened, credit.shares))
    sums = None if groups is None else _sum_groups(runs, groups, credit.players.shares)
    return StudyShares(runs, credit, sums, remarks)


def write_shares_page(path: Path, report: StudyShares, *, command: str) -> bool:
    """Write the HTML page; False where it lacks pictures of runs, which `command` makes."""
    runs, credit = report.runs, report.credit
    players, inside = credit.players, credit.inside
    portrait = portray(runs.opened, runs.name, players.shares.values)
    pictures = picture_sections(portrait, players.shares, players.names, command=command)
    sections = [] if inside is None else [inside_section(inside.shares, inside.names)]
    write_credit_report(
        path,
        credit.shares,
        credit.names,
        basis=basis_of(runs),
        more=[*sections, *pictures],
        groups=None if report.groups is None else shares_table(*report.groups),
        remarks=report.remarks,
    )
    return portrait.complete


def _sum_groups(runs: FinishedRuns, groups: str, shares: Shares) -> GroupSums:
    lab = runs.opened.lab
    embedder = PixelEmbedder() if lab is None else lab.describing_encoder()
    labels, names = choose_groups(groups, runs.opened.data, embedder)
    return GroupSums(group_sums(shares, labels, level=shares.level), names)
