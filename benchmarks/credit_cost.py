"""What one subset costs in each game: training, sampling, scoring.

    python benchmarks/credit_cost.py --data ../shared/data/fashion-mnist \\
        --out docs/results/credit_cost.json

The six contributors of `experiments/credit_exact.py`, half of them in each subset, one process with
one thread, for the experiments' latent DDPM and for one of more channels.  The games differ in what
a run starts from and in the number of its steps; every run samples and scores as many images.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from wherefrom import __version__
from wherefrom.credit.ledger.game import Planned, members_of
from wherefrom.credit.method import open_study
from wherefrom.credit.study.diffusion_run import DiffusionPlay

sys.path.append(str(Path(__file__).parents[1] / "experiments"))

from credit_exact import PLAYERS, split
from credit_studies import KINDS, prepare, recipe, write_study

STAGES = ("training", "sampling", "scoring")


def costs(home: Path, args: argparse.Namespace, width: int) -> list[dict[str, Any]]:
    """Median seconds of each stage, by game."""
    tables = recipe(args.steps, args.finetuning, args.images, width=width)
    halves = [m for m in range(1 << PLAYERS) if m.bit_count() == PLAYERS // 2]
    found: list[dict[str, Any]] = []
    for kind in KINDS:
        study = write_study(home, kind, tables, ledger=f"{width}.sqlite", work=f"{width}")
        play = open_study(study).play
        if not isinstance(play, DiffusionPlay):
            raise SystemExit("the study has no diffusion model")
        play(members_of(halves[-1], PLAYERS), 0)  # the first run also warms up
        runs = [Planned(mask, 1) for mask in halves[: args.subsets]]
        seconds = [play(members_of(run.mask, PLAYERS), run.seed).detail["seconds"] for run in runs]
        row: dict[str, Any] = {
            "game": kind,
            "width": width,
            "weights": sum(p.numel() for p in play.start(0).network.parameters()),
            "steps": play.training.steps,
            **{stage: statistics.median(each[stage] for each in seconds) for stage in STAGES},
        }
        row["total"] = statistics.median(sum(each[s] for s in STAGES) for each in seconds)
        row["ratio"] = (found[0] if found else row)["total"] / row["total"]
        found.append(row)
        print(
            f"{kind}, width {width}: {row['weights']:,} weights, "
            + ", ".join(f"{stage} {row[stage]:.2f} s" for stage in STAGES)
            + f"; {row['ratio']:.1f}x",
            flush=True,
        )
    return found


def main() -> None:
    """Print the table and save the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200, help="of training a subset")
    parser.add_argument("--finetuning", type=int, default=40, help="steps of the cheap games")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--subsets", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "cost"
        prepare(home, args.data, split)
        for width in args.widths:
            rows += costs(home, args, width)
    if args.out:
        result = {
            "command": "python benchmarks/credit_cost.py --data fashion-mnist",
            "settings": {k: v for k, v in vars(args).items() if k not in ("data", "out")},
            "versions": {
                "wherefrom": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "rows": rows,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
