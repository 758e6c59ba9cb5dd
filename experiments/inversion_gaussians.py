"""Four Gaussian clusters, Sections 4.1 and 4.5.1 of the thesis: Fig. 8, 11, 39, 40, 41 and 42.

    python experiments/inversion_gaussians.py                # trains what is missing, writes
    python experiments/inversion_gaussians.py --only cgpgan  # the runs whose name begins so

Every run is kept in --work as it ends, and an interrupted experiment goes on with the next one.
Smaller than the thesis: 128 hidden units (512), 16 latents (256), 64 points per step (16 or 32),
and --steps or --short updates (200,000); the averages of P(C) forget faster accordingly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from wherefrom import __version__, inversion
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import write_file

RESULT = Path("docs/results/inversion_gaussians.json")
CENTRES = torch.tensor([[-1.0, 1.0], [0.0, -2.0], [1.0, -1.0], [2.0, 1.0]])
SPREAD = 0.3
SHARES = torch.tensor([0.1, 0.2, 0.3, 0.4])
TRAIN, TEST = 50_000, 10_000
LIVE = 0.01  # a class with less of P(C) is omitted, as in the thesis' figures
RIGHT = 0.9  # share of a class in one cluster, and of the cluster in the class
NEAR = 0.3  # distance to a boundary between clusters
COMMON = {"latent": 16, "width": 128, "batch": 64, "learning_rate": 1e-3, "precision": "fp32"}


@dataclass(frozen=True)
class Run:
    """One training: its place in the tables, what differs from `COMMON`, and the real shares."""

    name: str
    seed: int
    values: dict[str, Any]
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    given: bool = False  # labels and P(C) are given


def points(count: int, shares: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Points (N, 2) and the cluster of each."""
    rng = stream(0, "gaussians", name)
    rows = torch.multinomial(shares, count, replacement=True, generator=rng)
    return CENTRES[rows] + SPREAD * torch.randn(count, 2, generator=rng), rows


def log_posteriors(x: Tensor, shares: Tensor) -> Tensor:
    """log P(cluster) p(x | cluster), up to a constant: (N, 4)."""
    return shares.log() - torch.cdist(x, CENTRES).square() / (2 * SPREAD**2)


def near_boundary(x: Tensor, shares: Tensor) -> float:
    """Share of the points that are within `NEAR` of the boundary of their two likeliest clusters.

    The boundary is a line; the difference of two log posteriors grows by |distance of the
    centres| / variance per unit across it.
    """
    best = log_posteriors(x, shares).topk(2, dim=1)
    apart = (CENTRES[best.indices[:, 0]] - CENTRES[best.indices[:, 1]]).norm(dim=1)
    distance = (best.values[:, 0] - best.values[:, 1]) * SPREAD**2 / apart
    return float((distance < NEAR).double().mean())


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, 0 for equal distributions; no pair of one point."""

    def mean_apart(a: Tensor) -> Tensor:
        return torch.cdist(a, a).sum() / (len(a) * (len(a) - 1))

    return float(2 * torch.cdist(x, y).mean() - mean_apart(x) - mean_apart(y))


def runs(args: argparse.Namespace) -> Iterator[Run]:
    """All trainings; those that cost most come last, seed by seed."""

    def cgpgan(seed: int, penalty: float) -> Run:
        values = {"method": "cgpgan", "class_penalty": penalty, "classes": 16, "steps": args.steps}
        return Run(f"cgpgan {penalty:g}", seed, values)

    yield cgpgan(0, 0.1)
    for seed in range(args.repeats):
        for name, method, weight in (
            ("cagan", "cagan", 1.0),
            ("revised-acgan 1", "revised-acgan", 1.0),
            ("revised-acgan 100", "revised-acgan", 100.0),
        ):
            values = {"method": method, "class_weight": weight, "steps": args.short}
            yield Run(name, seed, values, given=True)
        for method in ("cagan", "revised-acgan"):
            for mixed in (False, True):
                values = {"method": method, "mixed_batches": mixed, "batch_deviation": True}
                name = f"shifted {method}{', mixed' if mixed else ''}"
                values |= {"steps": args.short}
                yield Run(name, seed, values, shares=(0.4, 0.3, 0.2, 0.1), given=True)
        values = {"method": "infogan-classes", "classes": 4, "steps": args.short}
        yield Run("infogan-classes", seed, values, given=True)
        values = {"method": "elastic-infogan", "classes": 16, "steps": args.short}
        yield Run("elastic-infogan", seed, values)
    yield cgpgan(0, 10.0)
    yield from (cgpgan(seed, 0.1) for seed in range(1, args.seeds))
    yield from (cgpgan(0, penalty) for penalty in (100.0, 1.0, 0.0))


def measure(fitted: inversion.FittedInverter, run: Run) -> dict[str, Any]:
    """Classes against clusters, in what is generated and in what is classified."""
    prior = fitted.prior[0]
    live = [k for k in range(len(prior)) if float(prior[k]) >= LIVE]
    made = {k: fitted.sample(samples_per_class(len(live)), seed=1, label=k) for k in live}
    table = torch.zeros(len(live), len(CENTRES))  # what share of all is class k and in cluster i
    for row, k in enumerate(live):
        inside = log_posteriors(made[k], SHARES).argmax(dim=1)
        counts = torch.bincount(inside, minlength=len(CENTRES))
        table[row] = prior[k] * counts / counts.sum()
    pure = table / table.sum(dim=1, keepdim=True)
    covered = table / table.sum(dim=0, keepdim=True).clamp_min(1e-12)
    right = ((pure >= RIGHT) & (covered >= RIGHT)).any(dim=0)
    rows, columns = linear_sum_assignment(-table.numpy())
    off = [
        abs(float(prior[live[k]]) - float(SHARES[i])) for k, i in zip(rows, columns, strict=True)
    ]
    found: dict[str, Any] = {
        "prior": [round(float(prior[k]), 4) for k in live],
        "clusters_matched": int(right.sum()),
        "largest_error_of_p": max(off) if len(live) >= len(CENTRES) else None,
    }
    x, clusters = points(TEST, SHARES, "test")
    probabilities = fitted.classify(x)
    if probabilities is not None:
        chosen = probabilities.argmax(dim=1)
        counts = torch.zeros(probabilities.shape[1], len(CENTRES))
        counts.index_put_((chosen, clusters), torch.ones(TEST), accumulate=True)
        a, b = linear_sum_assignment(-counts.numpy())
        found["accuracy"] = float(counts[a, b].sum() / TEST)
        found["mutual_information"] = float(normalized_mutual_info_score(clusters, chosen))
    if run.given and fitted.config.method != "infogan-classes":
        found |= given_classes(made, x, clusters)
    return found


def samples_per_class(classes: int) -> int:
    """Points per class: as many as the test has per cluster on average, but no fewer than 500."""
    return max(500, TEST // (4 * classes))


def given_classes(made: dict[int, Tensor], x: Tensor, clusters: Tensor) -> dict[str, float]:
    """How well each class is generated where classes are given, Fig. 8 and 11."""
    whole = torch.cat([made[k][: int(SHARES[k] * len(made[k]) / SHARES.max())] for k in made])
    return {
        "energy_distance": statistics.fmean(
            energy_distance(made[k], x[clusters == k][: len(made[k])]) for k in made
        ),
        "centre_error": statistics.fmean(
            float((made[k].mean(dim=0) - CENTRES[k]).norm()) for k in made
        ),
        "near_boundary": near_boundary(whole, SHARES) / near_boundary(x, SHARES),
    }


def done(run: Run, args: argparse.Namespace) -> dict[str, Any]:
    """The run's figures, from --work where they were made with the same settings."""
    config = inversion.InversionConfig(**{**COMMON, **run.values})
    place = args.work / f"{run.name.replace(' ', '_').replace(',', '')}-{run.seed}.json"
    identity = {"config": config.to_dict(), "shares": list(run.shares), "train": TRAIN}
    if place.exists():
        known: dict[str, Any] = json.loads(place.read_text())
        if known["identity"] == identity:
            return known
    x, clusters = points(TRAIN, torch.tensor(run.shares), "train")
    labelled = run.given and config.method != "infogan-classes"
    start = time.process_time()
    fitted = inversion.fit(
        x,
        config=config,
        labels=inversion.TrainingLabels(
            values=clusters if labelled else None, prior=SHARES if run.given else None
        ),
        seed=run.seed,
    )
    found = {"name": run.name, "seed": run.seed, "seconds": time.process_time() - start}
    found |= {"steps": config.steps, **measure(fitted, run), "identity": identity}
    write_file(place, json.dumps(found).encode())
    print({k: v for k, v in found.items() if k != "identity"}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/inversion-gaussians"))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--steps", type=int, default=15_000, help="of cgpgan")
    parser.add_argument("--short", type=int, default=1500, help="of the others")
    parser.add_argument("--repeats", type=int, default=3, help="seeds where classes are given")
    parser.add_argument("--seeds", type=int, default=8, help="of cgpgan with the penalty 0.1")
    parser.add_argument("--only", default="", help="beginning of the names of runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    found = []
    for run in runs(args):
        if run.name.startswith(args.only):
            figures = dict(done(run, args))
            figures.pop("identity")
            found.append(figures)
            result = {
                "command": "python experiments/inversion_gaussians.py",
                "versions": {"wherefrom": __version__, "torch": torch.__version__},
                "settings": {**COMMON, "train": TRAIN, "test": TEST},
                "runs": found,
            }
            if not args.only:
                write_file(args.out, json.dumps(result, indent=1).encode())
    print(f"{len(found)} runs, {sum(r['seconds'] for r in found) / 60:.0f} minutes of CPU")


if __name__ == "__main__":
    main()
