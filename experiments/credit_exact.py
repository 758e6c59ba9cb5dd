"""A real game that is small enough to be known: 6 contributors, every subset retrained.

    python experiments/credit_exact.py --data ../shared/data/fashion-mnist
    python experiments/credit_exact.py --from-ledger        # the tables again, from the ledger

Six contributors give Fashion-MNIST garments at 16 px; the model is a latent DDPM of 636 thousand
weights.  Each of the 64 subsets is retrained from scratch several times, and fine-tuned, with and
without pruning.  So the Shapley values are known up to the noise of training, and every estimator,
its intervals and both proxies are held against them.  Kill it at any time; the same command goes
on.

The estimators are replayed many times with other designs: the value of a subset is the mean of its
retrainings, and a run of it is one of them, drawn by the run's seed (the same for a subset and its
complement, which were trained with one seed).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from credit_classifier import accuracy_of
from credit_studies import (
    KINDS,
    LEDGERS,
    PROPERTIES,
    Part,
    finite,
    games_in,
    open_game,
    play,
    prepare,
    publish,
    recipe,
    seconds_per_run,
    write_study,
)
from torch import Tensor

from wherefrom import __version__
from wherefrom.core.rng import derive_seed
from wherefrom.core.saving.store import write_file
from wherefrom.credit.equations import correlation, rank_correlation, shapley_value
from wherefrom.credit.estimators.choose import estimate
from wherefrom.credit.estimators.design import (
    EnumerationDesign,
    KernelShapDesign,
    LeaveOneOutDesign,
    PairedDesign,
    PermutationDesign,
    UniformDesign,
)
from wherefrom.credit.estimators.paired import estimate_exact
from wherefrom.credit.estimators.tables import enumerated, values_by_subset
from wherefrom.credit.evaluation.fidelity import certify_proxy
from wherefrom.credit.evaluation.lds import variance_split
from wherefrom.credit.ledger.game import Design, Floats, Planned, RunTable, mask_of, members_of
from wherefrom.credit.study.diffusion_run import UNLEARNED

GARMENTS = {
    "tops": (0, 6),
    "trousers": (1,),
    "knitwear": (2, 4),
    "dresses": (3,),
    "shoes": (5, 7, 9),
    "bags": (8,),
}
EACH = 300  # images of a class
PLAYERS = len(GARMENTS)
RESULT = Path(__file__).parents[1] / "docs" / "results" / "credit_exact.json"
LEDGER = LEDGERS / "credit_exact.sqlite"
TRUTH = "retrain"
BUDGETS = (16, 24, 36, 62)  # runs, those with none and with all among them
RETRAINED = (10, 18, 34)  # runs of full retraining that audit a proxy
AUDITS = 50  # designs of such audits
DESIGNS: dict[str, Callable[[int], Design]] = {
    "paired": lambda seed: PairedDesign(PLAYERS, seed),
    "kernelshap": lambda seed: KernelShapDesign(PLAYERS, seed),
    "permutation": lambda seed: PermutationDesign(PLAYERS, seed),
    "banzhaf": lambda seed: UniformDesign(PLAYERS, seed),
    "loo": lambda seed: LeaveOneOutDesign(PLAYERS, seed, 8),
    "trees": lambda seed: PairedDesign(PLAYERS, seed),
    "paired-trees": lambda seed: PairedDesign(PLAYERS, seed),
}
TREE_DRAWS = 40  # designs at most, because fitting trees takes a tenth of a second


def split(_images: Tensor, labels: Tensor) -> list[Part]:
    """The first `EACH` images of each class that a contributor has."""
    return [
        Part(name, torch.cat([torch.nonzero(labels == k).flatten()[:EACH] for k in classes]))
        for name, classes in GARMENTS.items()
    ]


def run(args: argparse.Namespace) -> None:
    """Make every run: each subset once in all games, then the other retrainings."""
    prepare(args.work, args.data, split)
    studies = {
        kind: write_study(
            args.work,
            kind,
            recipe(args.steps, args.finetuning, args.images),
            ledger="ledger.sqlite",
        )
        for kind in (*KINDS, *UNLEARNED)
    }
    size = 2**PLAYERS
    wanted = EnumerationDesign(PLAYERS, 0, args.replicates).take(size * args.replicates)
    order = [(kind, wanted[:size]) for kind in (*KINDS, *UNLEARNED)] + [(TRUTH, wanted)]
    for kind, runs in order:
        began = time.perf_counter()
        play(studies[kind], runs, args.workers)
        print(f"{kind}: {len(runs)} runs after {time.perf_counter() - began:.0f} s", flush=True)
        publish(args.work / "ledger.sqlite", args.ledger)


def means_of(table: RunTable) -> tuple[Floats, dict[int, list[float]]]:
    """The mean value of each subset (2^n,), and all its values in the order of their seeds."""
    results = values_by_subset(table)
    complete = min(len(values) for values in results.values())
    if len(results) < 2**PLAYERS:
        raise SystemExit(f"the ledger has {len(results)} of {2**PLAYERS} subsets; run on")
    rounds = {mask: values[:complete] for mask, values in results.items()}
    return np.array([np.mean(rounds[mask]) for mask in range(2**PLAYERS)]), rounds


def complete_part(table: RunTable) -> RunTable:
    """The first runs of each subset, as many as every subset has."""
    _, rounds = means_of(table)
    rows, seen = [], dict.fromkeys(rounds, 0)
    for j, row in enumerate(table.masks):
        mask = mask_of(row)
        if seen[mask] < len(rounds[mask]):
            rows.append(j)
        seen[mask] += 1
    return table.at(rows)


def replayed(runs: Sequence[Planned], values: dict[int, list[float]]) -> RunTable:
    """A design's runs with measured values."""
    return RunTable(
        np.array([members_of(run.mask, PLAYERS) for run in runs]),
        np.array(
            [
                values[run.mask][derive_seed(run.seed, "which retraining") % len(values[run.mask])]
                for run in runs
            ]
        ),
        np.array([run.seed for run in runs], dtype=np.int64),
    )


def distance(phi: Floats, truth: Floats) -> float:
    """|| phi - truth || / || truth ||, both less their means.

    Games differ in what nobody's data give, and so in what all shares add up to.
    """
    phi, truth = phi - phi.mean(), truth - truth.mean()
    return float(np.linalg.norm(phi - truth) / np.linalg.norm(truth))


def replay(
    name: str, budget: int, truth: Floats, values: dict[int, list[float]], draws: int
) -> dict[str, Any]:
    """One estimator at one budget, over many designs."""
    errors, ranks, covered, widths, resolved, counts = [], [], [], [], [], []
    for seed in range(min(draws, TREE_DRAWS) if "trees" in name else draws):
        runs = DESIGNS[name](seed).take(budget)
        shares = estimate(replayed(runs, values), name, accept_shrinkage=True)
        errors.append(distance(shares.values, truth))
        ranks.append(rank_correlation(shares.values, truth))
        inside = (shares.low <= truth) & (truth <= shares.high)
        covered.append(bool(inside.all()))
        widths.append((shares.high - shares.low).mean() / 2 / np.abs(truth).mean())
        resolved.append(shares.resolved.mean())
        counts.append(len(runs))
    known = bool(np.isfinite(widths).all()) and name not in ("banzhaf", "loo")
    return {
        "method": name,
        "runs": int(np.mean(counts)),
        "error": float(np.sqrt(np.mean(np.square(errors)))),
        "spearman": float(np.mean(ranks)),
        "covered": float(np.mean(covered)) if known else None,
        "half_width": float(np.mean(widths)) if known else None,
        "resolved": float(np.mean(resolved)) if known else None,
    }


def replicates(values: dict[int, list[float]]) -> list[dict[str, float]]:
    """Shapley values of each round of retraining against those of the other rounds."""
    rounds = np.array([values[mask] for mask in range(2**PLAYERS)])
    results = []
    for k in range(rounds.shape[1] if rounds.shape[1] > 1 else 0):
        alone, rest = shapley_value(rounds[:, k]), shapley_value(np.delete(rounds, k, 1).mean(1))
        inner = slice(1, -1)
        results.append(
            {
                "pearson": correlation(rounds[inner, k], np.delete(rounds, k, 1).mean(1)[inner]),
                "share_pearson": correlation(alone, rest),
                "share_spearman": rank_correlation(alone, rest),
                "error": distance(alone, rest),
            }
        )
    return results


def audit(
    proxy: RunTable, values: dict[int, list[float]], phi: Floats, count: int
) -> dict[str, float]:
    """Errors of a proxy's shares corrected by retrains, and of those retrains alone."""
    mended, alone = [], []
    for seed in range(AUDITS):
        table = replayed(PairedDesign(PLAYERS, seed, 1).take(count), values)
        shares = estimate(table, "paired", accept_shrinkage=True)
        mended.append(distance(certify_proxy(proxy, table).corrected.values, phi))
        alone.append(distance(shares.values, phi))
    both = (float(np.sqrt(np.mean(np.square(each)))) for each in (mended, alone))
    return {"runs": count, **dict(zip(("error", "error_alone"), both, strict=True))}


def fidelity(proxy: RunTable, truth: RunTable, mean: Floats) -> dict[str, Any]:
    """A proxy against retraining: values of the 62 parts, shares, and what an audit mends."""
    cheap, phi = means_of(proxy)[0], shapley_value(mean)
    shares = shapley_value(cheap)
    values = means_of(truth)[1]
    audits = [audit(proxy, values, phi, count) for count in RETRAINED]
    return {
        "pearson": correlation(cheap[1:-1], mean[1:-1]),
        "spearman": rank_correlation(cheap[1:-1], mean[1:-1]),
        "share_pearson": correlation(shares, phi),
        "share_spearman": rank_correlation(shares, phi),
        "error": distance(shares, phi),
        "shares": shares,
        "audits": audits,
    }


def analyse(ledger: Path, draws: int) -> dict[str, Any]:
    """Everything that the ledger says about both properties."""
    results: dict[str, Any] = {}
    for name in PROPERTIES:
        tables = {}
        for kind in games_in(ledger):
            with open_game(ledger, kind) as game:
                if game.counts()["done"] >= 2**PLAYERS:
                    tables[kind] = complete_part(game.runs(name))
        mean, values = means_of(tables[TRUTH])
        phi = shapley_value(mean)
        exact = estimate_exact(tables[TRUTH])
        known = enumerated(tables[TRUTH])
        several = known is not None and known.freedom > 0
        results[name] = {
            "exact": exact.to_dict(),
            "rounds": len(values[0]),
            "variance": variance_split(tables[TRUTH]).to_dict() if several else None,
            "replicates": replicates(values),
            "estimators": [
                replay(method, budget, phi, values, draws)
                for method in DESIGNS
                for budget in BUDGETS
            ],
            "proxies": {
                kind: fidelity(tables[kind], tables[TRUTH], mean)
                for kind in (*KINDS[1:], *UNLEARNED)
                if kind in tables
            },
        }
    return results


def costs(ledger: Path) -> dict[str, dict[str, float]]:
    """Seconds of a run by stage, in each game."""
    results = {}
    for kind in KINDS:
        with open_game(ledger, kind) as game:
            results[kind] = seconds_per_run(game)
    return results


def main() -> None:
    """Run what is missing, then write the ledger and the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's four idx files")
    parser.add_argument("--work", type=Path, default=Path("build/credit_exact"))
    parser.add_argument("--from-ledger", action="store_true", help="make no run")
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--steps", type=int, default=200, help="of training a subset")
    parser.add_argument("--finetuning", type=int, default=40, help="steps of the cheap games")
    parser.add_argument("--images", type=int, default=256, help="sampled in each run")
    parser.add_argument("--replicates", type=int, default=3, help="retrainings of each subset")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--draws", type=int, default=200, help="designs that are replayed")
    args = parser.parse_args()
    if not args.from_ledger:
        if args.data is None:
            parser.error("give --data, or --from-ledger")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        run(args)
    began = time.perf_counter()
    old = json.loads(args.out.read_text()) if args.out.is_file() else {}
    result = {
        "command": "python experiments/credit_exact.py --data fashion-mnist",
        "version": __version__,
        "torch": torch.__version__,
        "contributors": {name: EACH * len(classes) for name, classes in GARMENTS.items()},
        "game": games_in(args.ledger)[TRUTH].spec | {"data": None},
        "settings": old.get("settings") if args.from_ledger else settings(args),
        "draws": args.draws,
        "seconds": costs(args.ledger),
        "properties": analyse(args.ledger, args.draws),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(args.out, (json.dumps(finite(result), indent=1) + "\n").encode())
    print(f"wrote {args.out}; the tables took {time.perf_counter() - began:.0f} s")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the ledger does not say."""
    names = ("steps", "finetuning", "images", "replicates", "workers")
    results = {name: getattr(args, name) for name in names}
    return results | {"classifier_accuracy": accuracy_of(args.work)}


if __name__ == "__main__":
    main()
