"""Scores of the 20 contributors of `credit_table_1.py`, judged by what its ledgers hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from credit_studies import open_game

from wherefrom.core.errors import InputError
from wherefrom.credit.equations import datamodel, rank_correlation
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.design import (
    Design,
    KernelShapDesign,
    LeaveOneOutDesign,
    PairedDesign,
)
from wherefrom.credit.evaluation.lds import SubsetsDesign, lds_difference, lds_rows, variance_split
from wherefrom.credit.ledger.game import Floats, RunTable, mask_of
from wherefrom.credit.result import Shares

PLAYERS = 20
CHEAP, DEAR = "sparsified", "retrain"
OURS, PAPER = "paired Shapley, sparsified FT (ours)", "KernelSHAP, sparsified FT (the paper's)"
TREES = {"trees": "trees, sparsified FT", "paired-trees": "paired Shapley and trees, sparsified FT"}
COUNTS = (28, 48, 78, 118, 158, 206)  # runs, those with none and with all among them
DRAWS = 20  # parts of the runs at each count
ESTIMATION: dict[str, tuple[Design, int]] = {
    "paired": (PairedDesign(PLAYERS, 0), 206),
    "kernelshap": (KernelShapDesign(PLAYERS, 0), 206),
    "loo": (LeaveOneOutDesign(PLAYERS, 0), 66),
    "reference": (PairedDesign(PLAYERS, 1), 206),
}
HELD_OUT: dict[float, tuple[SubsetsDesign, int]] = {
    0.5: (SubsetsDesign(PLAYERS, 0.5, 32, 3), 96),
    0.25: (SubsetsDesign(PLAYERS, 0.25, 16, 3), 48),
    0.75: (SubsetsDesign(PLAYERS, 0.75, 16, 3), 48),
}
LEFT_OUT = (LeaveOneOutDesign(PLAYERS, 0, 1), 22)  # retrained


def ledger_of(folder: Path, kind: str) -> Path:
    """The published ledger of a game."""
    return folder / f"credit_table_1_{kind}.sqlite"


class Judged:
    """One property: runs of both games, and scores by method."""

    def __init__(self, ledgers: Path, name: str, known: dict[str, Any]) -> None:
        self.name = name
        with open_game(ledger_of(ledgers, CHEAP), CHEAP) as game:
            cheap = game.runs(name)
        with open_game(ledger_of(ledgers, DEAR), DEAR) as game:
            self.dear = game.runs(name)
        self.parts = {what: of(cheap, *part) for what, part in ESTIMATION.items()}
        self.left_out = of(self.dear, *LEFT_OUT)
        self.shares: dict[str, Shares] = {}
        self.scores = {k: np.array(v) for k, v in known["scores"].items()}
        self.scores |= {k: np.array(v) for k, v in known["of_one_property"][name].items()}
        for label, method, table in (
            ("LOO, retrained", "loo", self.left_out),
            ("LOO, sparsified FT", "loo", self.parts["loo"]),
            (PAPER, "kernelshap", self.parts["kernelshap"]),
            (OURS, "paired", self.parts["paired"]),
            *((label, method, self.parts["paired"]) for method, label in TREES.items()),
        ):
            try:
                self.shares[label] = estimate(table, method, accept_shrinkage=True)
            except InputError as error:
                print(f"{name}: no {label} ({error})")
        self.scores |= {label: shares.values for label, shares in self.shares.items()}

    def lds(self) -> list[dict[str, Any]]:
        """LDS of every method at every size that was retrained."""
        only = [run for design, count in HELD_OUT.values() for run in design.take(count)]
        return [row.to_dict() for row in lds_rows(self.dear, self.scores, only=only)]

    def lead(self) -> list[dict[str, Any]]:
        """LDS of ours less that of each other method at one half, with bootstrap intervals."""
        table, results = of(self.dear, *HELD_OUT[0.5]), []
        for method, scores in self.scores.items():
            if method == OURS:
                continue
            for gap, low, high in lds_difference(table, self.scores[OURS], scores).values():
                results.append({"method": method, "lead": gap, "low": low, "high": high})
        return results

    def variances(self) -> dict[str, Any]:
        """Subset against training seed, by size of the held-out subsets."""
        results = {}
        for alpha, part in HELD_OUT.items():
            try:
                results[str(alpha)] = variance_split(of(self.dear, *part)).to_dict()
            except InputError:
                continue
        return results

    def curves(self) -> list[dict[str, Any]]:
        """Error and LDS of four estimators by number of runs."""
        try:
            reference = estimate(self.parts["reference"], "paired")
        except InputError as error:
            print(f"{self.name}: no curve ({error})")
            return []
        center = np.eye(PLAYERS) - 1 / PLAYERS
        blur = float(np.trace(center @ reference.covariance @ center))
        spread = float(np.square(center @ reference.centers).sum())
        judges = of(self.dear, *HELD_OUT[0.5])
        rows = []
        for count in COUNTS:
            for method in ("kernelshap", "paired", *TREES):
                runs = self.parts["kernelshap" if method == "kernelshap" else "paired"]
                given = [
                    estimate(each, method, accept_shrinkage=True).values
                    for each in parts_of(runs, count)
                ]
                if not given:
                    continue
                missed = [np.square(center @ (phi - reference.centers)).sum() for phi in given]
                rows.append(
                    {
                        "runs": count,
                        "method": method,
                        "error": (max(float(np.mean(missed)) - blur, 0.0) / spread) ** 0.5,
                        "error_with_reference": float(np.mean(missed) / spread) ** 0.5,
                        "lds": float(np.mean([lds_of(judges, phi) for phi in given])),
                        "parts": len(given),
                    }
                )
        return rows


def of(table: RunTable, design: Design | SubsetsDesign, count: int) -> RunTable:
    """The runs of a design that are there, in the design's order."""
    cells = zip(table.masks, table.seeds, strict=True)
    place = {(mask_of(row), int(seed)): j for j, (row, seed) in enumerate(cells)}
    wanted = dict.fromkeys((run.mask, run.seed) for run in design.take(count))
    return table.at(np.array([place[key] for key in wanted if key in place], dtype=np.int64))


def parts_of(table: RunTable, count: int) -> Iterator[RunTable]:
    """`DRAWS` parts of `count` runs with all those of none and of all; the whole only once.

    Runs of one seed stay together, so that a subset keeps its complement.
    """
    sizes = table.masks.sum(axis=1)
    inner = (sizes > 0) & (sizes < table.masks.shape[1])
    ends, rows = np.flatnonzero(~inner), np.flatnonzero(inner)
    units: dict[int, list[int]] = {}
    for row in rows:
        units.setdefault(int(table.seeds[row]), []).append(int(row))
    each = max((len(unit) for unit in units.values()), default=1)
    whole = [unit for unit in units.values() if len(unit) == each]
    wanted = (count - len(ends)) // each
    if not 0 < wanted <= len(whole):
        return
    for seed in range(1 if wanted == len(whole) else DRAWS):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(whole))[:wanted])
        yield table.at(np.concatenate([ends, *(whole[k] for k in chosen)]))


def lds_of(table: RunTable, phi: Floats) -> float:
    """LDS at one size: mean rank correlation over training seeds."""
    each = []
    for seed in dict.fromkeys(table.seeds.tolist()):
        rows = table.at(table.seeds == seed)
        each.append(rank_correlation(datamodel(rows.masks, phi), rows.values))
    return float(np.mean(each))
