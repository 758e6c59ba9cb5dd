"""Grey images of 128 px, as FLIPAD's medical models make them: Table 4's last columns, reduced.

    python experiments/attribution_grey.py --data ../shared/data    # trains what is missing

The paper's images are mammograms that are not public; here small GANs are trained on 500
photographs in grey.  As in the paper, the owner is a DCGAN and the others of the fits are a
WGAN-GP's images, since a hospital gives away no real ones.  Judged are new images of that WGAN-GP,
and what no fit has seen: the DCGAN trained again with another seed (the paper: a conditional one),
an LSGAN, and real photographs that no GAN was trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom import __version__
from wherefrom.attribution.evaluation.comparison import ComparisonDesign, compare
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import stored_samples
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import write_file
from wherefrom.data import load_training_images
from wherefrom.generators.generator import Generator
from wherefrom.generators.loading import load_generator
from wherefrom.generators.zoo.files import train_zoo
from wherefrom.generators.zoo.training import ZooTrainingConfig

SIDE, LEARNT = 128, 500
OWNER, TAUGHT = "DCGAN", "WGAN-GP (in the fits)"
MODELS = {
    OWNER: ("dcgan", 0),
    TAUGHT: ("wgan-gp", 0),
    "DCGAN, other seed": ("dcgan", 1),
    "LSGAN": ("lsgan", 0),
}
EARLY = {"impostors": 0.0, "classifier_samples": 0, "lasso.lam": 1e-3}  # App. G.7, medical
PAPER = EARLY | {"lasso.effort": "exact", "lasso.gap": 1e-2}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "RawPAD": ("raw-pad", {}),
    "DCTPAD": ("dct-pad", {}),
    "SM-F": ("fingerprint", {}),
    "FLIPAD, paper": ("flipad", PAPER),
    "FLIPAD, early-stopped": ("flipad", EARLY),
    "FLIPAD, default": ("flipad", {}),
}


def trained(architecture: str, seed: int, images: Tensor, digest: str, args: Any) -> Generator:
    """The GAN, from --work where it was trained with the same settings."""
    config = ZooTrainingConfig(
        architecture=architecture,
        size=SIDE,
        channels=1,
        width=args.width,
        batch=32,
        steps=args.steps,
        generator_every=1,
        seed=seed,
    )
    out = args.work / f"{architecture}-{seed}"
    weights = train_zoo(
        images,
        out,
        config=config,
        origin={"images": digest},
        sample_every=args.steps,
        checkpoint_every=100,
    )
    return load_generator("zoo:", weights=weights)


def judge(
    title: str, owner: Generator, others: Tensor, rivals: dict[str, Tensor], args: Any
) -> dict[str, Any]:
    """Every repetition of one recipe."""
    method, changes = RECIPES[title]
    values = {
        "train_samples": args.train,
        "calibration_samples": args.calibration,
        "false_positive_rate": 0.05,
    }
    if method == "flipad":
        values |= {"mean_samples": args.train, "classifier_samples": args.classifier}
    config = find_method(method).presets["default"].with_values(values | changes)
    result = compare(
        owner,
        others,
        rivals,
        configs={method: config},
        design=ComparisonDesign(own_samples=args.test, repetitions=args.repetitions),
    )
    return {"recipe": title, **result.rows[0].to_dict(), "config": config.to_dict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--work", type=Path, default=Path("build/attribution-grey"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/attribution_grey.json"))
    parser.add_argument("--steps", type=int, default=400, help="of each GAN")
    parser.add_argument("--width", type=int, default=16, help="channels entering the last layer")
    parser.add_argument("--train", type=int, default=300, help="own images of a fit")
    parser.add_argument("--calibration", type=int, default=300)
    parser.add_argument("--classifier", type=int, default=2000, help="own crops of 32 px")
    parser.add_argument("--test", type=int, default=100, help="images per source")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    args = parser.parse_args()
    loaded = load_training_images(args.data / "photos", size=SIDE, channels=1)
    mixed = loaded.images[torch.randperm(len(loaded.images), generator=stream(0, "grey"))]
    learnt, real = mixed[:LEARNT], mixed[LEARNT : LEARNT + args.test]
    models = {}
    for name, (architecture, seed) in MODELS.items():
        models[name] = trained(architecture, seed, learnt, loaded.digest, args)
        print("trained", name, flush=True)
    others = stored_samples(models[TAUGHT], args.train, 1)
    rivals = {n: stored_samples(g, args.test, 2) for n, g in models.items() if n != OWNER}
    rivals["real"] = real
    rows = []
    for title in args.recipes:
        kept = args.work / f"{title.replace(', ', '-').replace(' ', '-')}.json"
        if not kept.exists():
            row = judge(title, models[OWNER], others, rivals, args)
            write_file(kept, json.dumps(row).encode())
        rows.append(json.loads(kept.read_text()))
        print(title, {k: v["mean"] for k, v in rows[-1]["accuracy"].items()}, flush=True)
    result = {
        "command": "python experiments/attribution_grey.py --data DATA",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "data": loaded.digest,
        "settings": {k: v for k, v in vars(args).items() if k not in ("data", "out", "work")},
        "rows": rows,
    }
    write_file(args.out, (json.dumps(result, indent=1) + "\n").encode())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
