"""A third party's pretrained generator against students that a thief trained on its outputs.

    python benchmarks/face_dcgan.py --weights weights.tar

The owner's model is the DCGAN of faces in gan-face-generate (examples/face_dcgan.py).  Two students
learn from 6,000 of its images: an LSGAN, whose images are the "others" of every fit, and a DCGAN of
the owner's architecture, which no fit sees.  All three make the same faces.  Training continues
where it stopped; so does the evaluation, seed by seed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wherefrom import __version__, attribution
from wherefrom.attribution.method import sample_eight_bit
from wherefrom.core.rng import derive_seed
from wherefrom.core.store import digest_tensors
from wherefrom.data import load_training_images
from wherefrom.generators.generator import Generator
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo_files import train_zoo
from wherefrom.generators.zoo_training import ZooTrainingConfig

FACE = Path(__file__).parents[1] / "examples" / "face_dcgan.py"
STUDENTS = {
    "LSGAN student": ZooTrainingConfig(
        architecture="lsgan", width=32, steps=400, batch=64, generator_every=2, precision="bf16",
        seed=2,
    ),
    "DCGAN student": ZooTrainingConfig(
        architecture="dcgan", width=64, steps=600, batch=64, generator_every=1, precision="bf16",
        seed=1,
    ),
}  # fmt: skip
IN_FIT = "LSGAN student"


def train_students(owner: Generator, work: Path) -> dict[str, Generator]:
    """Both students, trained on the owner's 8-bit outputs."""
    stolen = sample_eight_bit(owner, 6000, derive_seed(0, "thief"))
    digest = digest_tensors({"images": stolen})
    found = {}
    for name, config in STUDENTS.items():
        folder = work / f"{config.architecture}-{config.width}-{config.seed}"
        path = folder / "generator.safetensors"
        if not path.exists():
            train_zoo(stolen, folder, config=config, digest=digest, checkpoint_every=200)
        found[name] = load_generator("zoo:", weights=path)
    return found


def one_seed(
    owner: Generator, students: dict[str, Generator], seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Fit with the paper's negatives and with impostors; judge every source."""
    draw = lambda g, n, name: sample_eight_bit(g, n, derive_seed(seed, "face", name))  # noqa: E731
    pool = draw(students[IN_FIT], round(1.25 * args.train), "others")
    sources = {name: draw(g, args.test, f"test {name}") for name, g in students.items()}
    if args.data is not None:
        sources["photographs"] = load_training_images(
            args.data / "photos", size=64, channels=3, limit=args.test
        ).images
    own = draw(owner, args.test, "test own")
    found = {}
    for method, impostors in (("FLIPAD, paper", 0.0), ("FLIPAD + impostors", 1.0)):
        base = attribution.PRESETS["default"]
        config = replace(
            base,
            train_samples=args.train,
            calibration_samples=args.calibration,
            mean_samples=1000,
            impostors=impostors,
            detector=replace(base.detector, epochs=args.epochs, precision="bf16"),
        )
        fitted = attribution.fit(owner, pool, config=config, seed=seed)
        result = attribution.evaluate(fitted, own, sources)
        found[method] = result.to_dict()
        print(seed, method, {r.source: round(r.accuracy, 4) for r in result.others}, flush=True)
    return found


def summarise(seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per method and source, each measure as a list over the seeds."""
    rows = []
    for method, first in seeds[0].items():
        for index, row in enumerate(first["others"]):
            mine = [seed[method]["others"][index] for seed in seeds]
            measures = {k: [m[k] for m in mine] for k in ("accuracy", "auroc", "rejected")}
            seen = "yes" if row["source"] == IN_FIT else "no"
            rows.append({"method": method, "source": row["source"], "in_fit": seen, **measures})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="gan-face-generate weights.tar")
    parser.add_argument("--data", type=Path, help="folder with photos/, as one more source")
    parser.add_argument("--work", type=Path, default=Path("build/face_dcgan"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/face_dcgan.json"))
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--calibration", type=int, default=500)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    owner = load_generator(f"{FACE}:G", weights=args.weights)
    students = train_students(owner, args.work)
    seeds = []
    for seed in range(args.seeds):
        kept = args.work / f"seed-{seed}.json"
        if not kept.exists():
            kept.write_text(json.dumps(one_seed(owner, students, seed, args)))
        seeds.append(json.loads(kept.read_text()))
    found = {
        "command": "python benchmarks/face_dcgan.py --weights weights.tar --data DATA",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "owner": owner.digest,
        "students": {name: config.to_dict() for name, config in STUDENTS.items()},
        "settings": {k: v for k, v in vars(args).items() if isinstance(v, int)},
        "rows": summarise(seeds),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
