"""A third party's pretrained generator, real photographs, and rivals that make the same faces.

    python benchmarks/face_dcgan.py --weights weights.tar --data DATA --taef2 TAEF2

The owner's model is the DCGAN of faces in gan-face-generate (examples/face_dcgan.py): the paper's
last layer, 64 pixels.  Nobody here has its training images: the others of the fit are photographs
of other things.  Held out of every fit, with the owner's content: the owner's own faces made again
by a real autoencoder (TAEF2), and a DCGAN of the owner's architecture that a thief trained on 6,000
of its images (600 steps only: its faces are rough, so it is the easier rival).  --copies adds the
owner's own model with rounded, pruned or nudged weights (altered_copies.py).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from altered_copies import COPIES, altered_copy
from taef2 import TAEF2

from wherefrom import __version__, attribution
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.store import digest_tensors
from wherefrom.data import load_training_images, to_float, to_uint8
from wherefrom.generators.generator import Generator
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo_files import train_zoo
from wherefrom.generators.zoo_training import ZooTrainingConfig

FACE = Path(__file__).parents[1] / "examples" / "face_dcgan.py"
STUDENT = ZooTrainingConfig(
    architecture="dcgan",
    width=64,
    steps=600,
    batch=64,
    generator_every=1,
    precision="bf16",
    seed=1,
)
RATES = (0.005, 0.05)
METHODS = {
    "FLIPAD, paper": {"impostors": 0.0, "classifier_samples": 0},
    "FLIPAD, default": {},
}


def train_student(owner: Generator, work: Path) -> Generator:
    """The thief's model, trained on the owner's 8-bit outputs."""
    folder = work / f"{STUDENT.architecture}-{STUDENT.width}-{STUDENT.seed}"
    path = folder / "generator.safetensors"
    if not path.exists():
        stolen = stored_samples(owner, 6000, derive_seed(0, "thief"))
        digest = digest_tensors({"images": stolen})
        train_zoo(stolen, folder, config=STUDENT, digest=digest, checkpoint_every=200)
    return load_generator("zoo:", weights=path)


def one_seed(
    owner: Generator, student: Generator, rival: TAEF2, seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Fit as the paper and by default; judge every source."""
    draw = lambda g, n, name: stored_samples(g, n, derive_seed(seed, "face", name))  # noqa: E731
    photographs = load_training_images(args.data / "photos", size=64, channels=3).images
    order = torch.randperm(len(photographs), generator=stream(seed, "face", "photographs"))
    tested = args.photographs
    pool, unseen = photographs[order[tested:]], photographs[order[:tested]]
    same_faces = to_float(draw(owner, args.test, "resynthesised"))
    sources = {
        "photographs": unseen,
        "TAEF2 of own faces": to_uint8(rival.resynthesise(same_faces)),
        "DCGAN student": draw(student, args.test, "student"),
    }
    if args.copies:
        for name, change in COPIES.items():
            sources[name] = draw(altered_copy(owner, change), args.test, name)
    own = draw(owner, args.test, "test own")
    found = {}
    for method, changes in METHODS.items():
        settings = {
            "train_samples": args.train,
            "calibration_samples": args.calibration,
            "mean_samples": 1000,
            "detector.epochs": args.epochs,
            "detector.precision": "bf16",
            "classifier_samples": args.classifier,
        }
        config = attribution.PRESETS["default"].with_values({**settings, **changes})
        fitted = attribution.fit(owner, pool, config=config, seed=seed)
        result = attribution.evaluate(fitted, own, sources)
        found[method] = [
            {
                "source": row.source,
                "auroc": row.auroc,
                **{
                    f"rejected at {rate}": share_above(result.scores[row.source], fitted, rate)
                    for rate in RATES
                },
            }
            for row in (result.own, *result.others)
        ]
        print(seed, method, found[method], flush=True)
    return found


def share_above(scores: Sequence[float], fitted: attribution.Attributor, rate: float) -> float:
    """Share of scores called not ours at this false-negative rate."""
    threshold = threshold_at_rate(fitted.own_scores, rate)
    return sum(score > threshold for score in scores) / len(scores)


def summarise(seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per method and source, each measure as a list over the seeds."""
    rows = []
    for method, first in seeds[0].items():
        for index, row in enumerate(first):
            mine = [seed[method][index] for seed in seeds]
            measures = {k: [m[k] for m in mine] for k in row if k != "source"}
            seen = "yes" if row["source"] in ("own", "photographs") else "no"
            rows.append({"method": method, "source": row["source"], "in_fit": seen, **measures})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="gan-face-generate weights.tar")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--taef2", type=Path, required=True, help="folder of TAEF2's safetensors")
    parser.add_argument("--work", type=Path, default=Path("build/face_dcgan"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/face_dcgan.json"))
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--classifier", type=int, default=8000, help="crops per kind of image")
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--photographs", type=int, default=150, help="held out for the test")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--copies", action="store_true", help="judge altered copies of the owner")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    owner = load_generator(f"{FACE}:G", weights=args.weights)
    student, rival = train_student(owner, args.work), TAEF2(args.taef2)
    seeds = []
    for seed in range(args.seeds):
        kept = args.work / f"seed-{seed}.json"
        if not kept.exists():
            kept.write_text(json.dumps(one_seed(owner, student, rival, seed, args)))
        seeds.append(json.loads(kept.read_text()))
    found = {
        "command": "python benchmarks/face_dcgan.py --weights W --data DATA --taef2 TAEF2",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "owner": owner.digest,
        "student": STUDENT.to_dict(),
        "settings": {k: v for k, v in vars(args).items() if isinstance(v, int)},
        "rows": summarise(seeds),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
