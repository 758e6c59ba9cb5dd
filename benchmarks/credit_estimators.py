"""Runs needed to reach a given error: the paper's KernelSHAP against the default estimator.

    python benchmarks/credit_estimators.py --out docs/results/credit_estimators.json

Games have heavy-tailed main effects, 2n pairs, n triples, and an effect of the number of
contributors that is `crowd` of the main effects' sum; their Shapley values are known.  Noise is a
part of the standard deviation of the game over the subsets of Eq. 5.  Both methods see the same
games, the same exact ends, and the same seeds.  Error: || phi - true || / || true - mean ||, root
mean square over games.  A method's runs at an error are read off its curve, interpolated in
logarithms; the paper's curve sets the errors at `--targets` runs.  Boosted trees are fitted to the
runs of the paired design, at counts between `FEWEST_FOR_TREES` and the first target only: that is
where they might be better, and fitting them takes a tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherefrom import __version__
from wherefrom.core.rng import derive_seed
from wherefrom.credit.estimators.design import Design, KernelShapDesign, PairedDesign
from wherefrom.credit.estimators.paired import estimate_kernel_shap, estimate_paired
from wherefrom.credit.estimators.trees import estimate_paired_trees, estimate_trees
from wherefrom.credit.ledger.game import Bools, Floats, RunTable, members_of
from wherefrom.credit.result import Shares

METHODS: dict[str, tuple[Callable[..., Design], Callable[[RunTable], Shares]]] = {
    "KernelSHAP of the paper": (KernelShapDesign, estimate_kernel_shap),
    "paired (default)": (PairedDesign, lambda runs: estimate_paired(runs, accept_shrinkage=True)),
}
PAPER, OURS = METHODS
TREES: dict[str, tuple[Callable[..., Design], Callable[[RunTable], Shares]]] = {
    "trees": (PairedDesign, estimate_trees),
    "paired and trees": (
        PairedDesign,
        lambda runs: estimate_paired_trees(runs, accept_shrinkage=True),
    ),
}
FEWEST = 8  # runs at which the curves begin
FEWEST_FOR_TREES = 30


class Game:
    """A synthetic game with known Shapley values."""

    def __init__(self, players: int, seed: int, crowd: float) -> None:
        draw = np.random.default_rng(derive_seed(seed, "benchmark game"))
        self.main = draw.standard_t(3, players)
        self.terms = [
            (draw.choice(players, count, replace=False), 0.7 * float(draw.normal()))
            for count in [2] * (2 * players) + [3] * players
        ]
        self.crowd = crowd * float(np.abs(self.main).sum())

    def __call__(self, masks: Bools) -> Floats:
        inside = masks.astype(np.float64)
        value: Floats = inside @ self.main + self.crowd * (1 - np.exp(-4 * inside.mean(axis=1)))
        for members, weight in self.terms:
            value = value + weight * inside[:, members].prod(axis=1)
        return value

    def shapley(self) -> Floats:
        """A product is split equally among its members."""
        phi: Floats = self.main + self.crowd * (1 - np.exp(-4)) / len(self.main)
        for members, weight in self.terms:
            phi[members] += weight / len(members)
        return phi


def errors(
    game: Game, seed: int, noise: float, counts: Sequence[int], few: Sequence[int]
) -> dict[str, list[float]]:
    """The error of each method at each number of runs, for one game; of trees at the `few`."""
    n, truth = len(game.main), game.shapley()
    usual = np.array([members_of(r.mask, n) for r in KernelShapDesign(n, -1).take(2002)[2:]])
    sigma = noise * float(game(usual).std())
    found: dict[str, list[float]] = {}
    for name, (design, estimate) in (METHODS | TREES).items():
        planned = design(n, seed, 1).take(2 + max(counts))
        masks = np.array([members_of(run.mask, n) for run in planned])
        draw = np.random.default_rng(derive_seed(seed, "benchmark noise"))
        values = game(masks)
        values[2:] += sigma * draw.normal(size=len(planned) - 2)
        table = RunTable(masks, values, np.array([run.seed for run in planned]))
        found[name] = [
            float(np.linalg.norm(estimate(table.at(range(2 + k))).values - truth))
            / float(np.linalg.norm(truth - truth.mean()))
            for k in (few if name in TREES else counts)
        ]
    return found


def runs_at(error: float, counts: Sequence[int], curve: Floats) -> float | None:
    """Where a curve first falls to an error; its beginning where it starts below, None if never."""
    logs = np.log(curve)
    below = np.flatnonzero(logs <= np.log(error))
    if not len(below):
        return None
    j = int(below[0])
    if j == 0:
        return float(counts[0])
    part = (logs[j - 1] - np.log(error)) / (logs[j - 1] - logs[j])
    return float(np.exp(np.log(counts[j - 1]) + part * np.log(counts[j] / counts[j - 1])))


def compare(args: argparse.Namespace, noise: float, crowd: float) -> dict[str, Any]:
    """Curves, and the runs that each method needs for the paper's errors at the targets."""
    longest = max(args.targets)
    counts = sorted({2 * round(x / 2) for x in np.geomspace(FEWEST, longest, args.points)})
    counts = sorted({*counts, *args.targets})
    few = [count for count in counts if FEWEST_FOR_TREES <= count <= min(args.targets)]
    games = [
        errors(Game(args.players, seed, crowd), seed, noise, counts, few)
        for seed in range(args.seed, args.seed + args.games)
    ]
    curves = {
        name: np.sqrt(np.mean([np.square(game[name]) for game in games], axis=0))
        for name in METHODS | TREES
    }
    rows = []
    for target in args.targets:
        error = float(curves[PAPER][counts.index(target)])
        ours = runs_at(error, counts, curves[OURS])
        rows.append({"error": error, "paper": target, "ours": ours,
                     "ratio": None if ours is None else ours / target})  # fmt: skip
    return {
        "noise": noise,
        "crowd": crowd,
        "runs": counts,
        "few": few,
        "rms": {name: curve.tolist() for name, curve in curves.items()},
        "rows": rows,
    }


def main() -> None:
    """Print the table and save the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--players", type=int, default=20)
    parser.add_argument("--games", type=int, default=20)
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", type=int, nargs="+", default=[200, 500, 1000])
    parser.add_argument("--noises", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--crowds", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    start, found = time.perf_counter(), []
    for noise in args.noises:
        for crowd in args.crowds:
            found.append(compare(args, noise, crowd))
            for row in found[-1]["rows"]:
                shown = "never" if row["ours"] is None else f"{row['ours']:6.0f} runs"
                part = "" if row["ratio"] is None else f"   {row['ratio']:.2f} of them"
                print(
                    f"noise {noise:.0%}  crowd {crowd:.1f}  error {row['error']:.3f}  "
                    f"paper {row['paper']:5d} runs  ours {shown}{part}"
                )
    if args.out:
        settings = {k: v for k, v in vars(args).items() if k != "out"}
        result = {
            "command": f"python benchmarks/credit_estimators.py --players {args.players} "
            f"--games {args.games} --seed {args.seed}",
            "settings": settings,
            "versions": {"wherefrom": __version__, "numpy": np.__version__,
                         "python": platform.python_version()},
            "seconds": time.perf_counter() - start,
            "cases": found,
        }  # fmt: skip
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
