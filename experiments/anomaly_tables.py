"""Does AS order a GAN's stages of training, and which damage does each score notice?

    python experiments/anomaly_images.py --data ../shared/data/cifar10/train.tar
    python experiments/anomaly_tables.py --photos ../shared/data/photos
    python experiments/anomaly_tables.py --resolution 224 --preset paper --limit 60
    python experiments/anomaly_tables.py --from-points     # who is told apart, again

Stages: every folder that anomaly_images.py made is scored and compared with the held-out real
images, each training seed by itself; "real-other" are real images that stand in as one more
generator.  Damage: graded corruptions of the small real images and of photographs, in turn against
the same images undamaged.  The last command asks whether the encoder's own input side changes the
answer, with fewer images and draws; its results end in _224.  Scores are cached by content, so it
continues where it stopped.  --from-points compares the generators again from anomaly_points.csv,
which holds C and V of every image, and reads no image.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from wherefrom import __version__
from wherefrom.anomaly.calibration.assumption import AssumptionConfig, check_assumption
from wherefrom.anomaly.calibration.fitted import AnomalyCalibration, fit_calibration
from wherefrom.anomaly.comparison.generators import (
    ComparisonConfig,
    GeneratorScore,
    compare_generators,
    compare_pairs,
)
from wherefrom.anomaly.comparison.ranking import rank
from wherefrom.anomaly.config import PRESETS
from wherefrom.anomaly.equations import anomaly_vectors
from wherefrom.anomaly.measuring.cache import FolderCache
from wherefrom.anomaly.measuring.items import load_image
from wherefrom.anomaly.measuring.scoring import score_files
from wherefrom.anomaly.result import ImageScores
from wherefrom.core.rng import stream
from wherefrom.data.folders import list_images
from wherefrom.data.splits import spread_indices
from wherefrom.encoders import load_feature_encoder
from wherefrom.metrics.detection import auroc

RESULTS = Path("docs/results")
SCORES = ("as_i", "vulnerability", "joint")
RATE = 0.05  # asked for when images are flagged


@dataclass(frozen=True)
class Job:
    """One thing to measure in a process of its own."""

    files: tuple[Path, ...]
    resolution: int
    cache: Path
    preset: str = "default"
    damage: int = 0  # images that are damaged; the others are the cloud
    grades: int = 3


def measure(job: Job) -> Any:
    """Scores of the files, or what the damaged ones say."""
    torch.set_num_threads(1)
    encoder = load_feature_encoder(resolution=job.resolution)
    cache = FolderCache(job.cache)
    cloud = score_files(job.files[job.damage :], encoder, config=PRESETS[job.preset], cache=cache)
    if not job.damage:
        return cloud
    images = torch.stack([load_image(f, job.resolution) for f in job.files[: job.damage]])
    settings = AssumptionConfig(images=job.damage, grades=job.grades, directions=8, restarts=2)
    return check_assumption(images, encoder, reals=cloud, assumption=settings).to_dict()


def spread(files: list[Path], limit: int) -> tuple[Path, ...]:
    """At most so many of the files, spread evenly."""
    return tuple(files[row] for row in spread_indices(len(files), limit))


def damage_jobs(args: argparse.Namespace) -> dict[str, Job]:
    """Which images are damaged: seeded choices, and a third of them again as the cloud."""
    outcome: dict[str, Job] = {}
    if args.photos is None:
        return outcome
    sets = {"CIFAR-10": (args.work / "real-other", args.resolution)}
    sets["photographs"] = (args.photos, 224)
    for name, (folder, resolution) in sets.items():
        files = list_images([folder])
        order = torch.randperm(len(files), generator=stream(0, "damaged")).tolist()
        chosen = tuple(files[i] for i in order[: args.damaged + max(40, args.damaged)])
        outcome[name] = Job(chosen, resolution, args.work / "cache", damage=args.damaged)
    return outcome


def stage_row(
    row: GeneratorScore, scores: ImageScores, others: Tensor, real: AnomalyCalibration
) -> Any:
    """One line of the table of stages."""
    points = anomaly_vectors(scores.complexity, scores.vulnerability)
    outcome, still = real.scores(points), real.scores(others)
    p = real.p_values(points)
    return row.to_dict() | {
        "auc": {name: auroc(still[name], outcome[name]) for name in SCORES},
        "flagged": {name: float((p[name] <= RATE).double().mean()) for name in SCORES},
    }


def compare_stages(seed: int, folders: dict[str, ImageScores], draws: int) -> dict[str, Any]:
    """All stages of one training seed."""
    chosen = {
        "real-other" if name == "real-other" else name.split("-")[1]: scores
        for name, scores in folders.items()
        if name == "real-other" or name.endswith(f"seed-{seed}")
    }
    compared = compare_generators(folders["real"], chosen, config=ComparisonConfig(draws=draws))
    other = folders["real-other"]
    others = anomaly_vectors(other.complexity, other.vulnerability)
    calibration = fit_calibration(folders["real"])
    rows = [stage_row(row, chosen[row.name], others, calibration) for row in compared.generators]
    stages = [row for row in rows if row["name"] != "real-other"]
    tau = {
        name: kendalltau([int(row["name"]) for row in stages], [value(row) for row in stages])
        for name, value in {
            "anomaly_score": lambda row: row["anomaly_score"],
            "frechet_distance": lambda row: row["metrics"]["frechet_distance"],
            "kernel_distance": lambda row: row["metrics"]["kernel_distance"],
        }.items()
    }
    return {
        "seed": seed,
        "rows": rows,
        "ranking": compared.ranking.to_dict(),
        "letters": {row["name"]: compared.ranking.group_letters(row["name"]) for row in rows},
        "kendall": {name: float(outcome.statistic) for name, outcome in tau.items()},
    }


def write_points(folders: dict[str, ImageScores], path: Path) -> None:
    """C and V of every image, for the plot."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "complexity", "vulnerability"])
        for name, scores in folders.items():
            for c, v in zip(scores.complexity.tolist(), scores.vulnerability.tolist(), strict=True):
                writer.writerow([name, f"{c:.5g}", f"{v:.5g}"])


def compare_again(draws: int) -> None:
    """Order the stages of each seed in anomaly_stages.json again, from the points of all images."""
    points: dict[str, list[tuple[float, float]]] = {}
    with (RESULTS / "anomaly_points.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            point = float(row["complexity"]), float(row["vulnerability"])
            points.setdefault(row["set"], []).append(point)
    sets = {name: np.array(rows) for name, rows in points.items()}
    path = RESULTS / "anomaly_stages.json"
    outcome = json.loads(path.read_text())
    for seed in outcome["seeds"]:
        names = [row["name"] for row in seed["rows"]]
        stages = {n: sets.get(f"stage-{n}-seed-{seed['seed']}", sets["real-other"]) for n in names}
        pairs = compare_pairs(sets["real"], stages, draws=draws)
        ranking = rank(names, pairs, seed["ranking"]["error_rate"])
        seed["ranking"] = ranking.to_dict()
        seed["letters"] = {name: ranking.group_letters(name) for name in names}
    path.write_text(json.dumps(outcome, indent=1) + "\n")
    print(f"wrote {path}")


def stage_seeds(folders: Sequence[str]) -> list[int]:
    return sorted({int(name.rsplit("-", 1)[1]) for name in folders if name.startswith("stage-")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/anomaly"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--resolution", type=int, default=96, help="for the small images")
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parser.add_argument("--limit", type=int, default=200, help="images of a generator; thrice real")
    parser.add_argument("--damaged", type=int, default=40, help="images that are damaged")
    parser.add_argument("--draws", type=int, default=999)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--from-points", action="store_true", help="compare again; no image is read"
    )
    args = parser.parse_args()
    if args.from_points:
        compare_again(args.draws)
        return
    names = ["real", "real-other", *sorted(p.name for p in args.work.glob("stage-*-seed-*"))]
    names = [name for name in names if not name.endswith(".part")]
    jobs = {
        name: Job(
            spread(list_images([args.work / name]), args.limit * (3 if name == "real" else 1)),
            args.resolution,
            args.work / "cache",
            args.preset,
        )
        for name in names
    }
    damage = damage_jobs(args)
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        waiting = {name: pool.submit(measure, job) for name, job in {**damage, **jobs}.items()}
        folders = {}
        for name in names:
            folders[name] = waiting[name].result()
            print(f"{name}: {len(folders[name])} images", flush=True)
        checks = {name: waiting[name].result() for name in damage}
    encoder = load_feature_encoder(resolution=args.resolution)
    outcome = {
        "command": f"python experiments/anomaly_tables.py {shlex.join(sys.argv[1:])}",
        "wherefrom": __version__,
        "encoder": encoder.identity.kind,
        "resolution": args.resolution,
        "preset": args.preset,
        "real": len(folders["real"]),
        "each": len(folders["real-other"]),
        "rate": RATE,
        "draws": args.draws,
        "seeds": [compare_stages(s, folders, args.draws) for s in stage_seeds(names)],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    suffix = "" if args.photos is not None else f"_{args.resolution}"
    (RESULTS / f"anomaly_stages{suffix}.json").write_text(json.dumps(outcome, indent=1) + "\n")
    if damage:
        checked = {
            name: check | {"resolution": damage[name].resolution} for name, check in checks.items()
        }
        text = json.dumps({"command": outcome["command"], "sets": checked}, indent=1)
        (RESULTS / "anomaly_damage.json").write_text(text + "\n")
        write_points(folders, RESULTS / "anomaly_points.csv")
    print(f"wrote {RESULTS}/anomaly_*")


if __name__ == "__main__":
    main()
