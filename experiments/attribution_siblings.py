"""How the guard against siblings fares: own images called own, sibling images called own.

    python experiments/attribution_siblings.py --data ../shared/data/fashion-mnist

Every generator of the zoo (Fashion-MNIST, 32 px, grey) is the owner once; the seven others are its
siblings: the same architecture with the other seed, and three other architectures with two seeds,
all trained on the same images.  No sibling's image enters a fit or a calibration.  Each attributor
is judged with the guard and without it, from the same scores.

The kinds of self-made siblings and their strengths (`attribution.siblings`) were chosen on the
owners in DEVELOPMENT, fitted as the demo fits; the other owners chose nothing and are reported
apart.
Fits are reduced (--train, --classifier); each is stored in --work, so that a run that was stopped
continues.  `--method patches` judges by that method, and writes a file of its own.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unseen_clothes import unseen_clothes

from wherefrom import __version__, attribution
from wherefrom.attribution.checking.fitted import Attributor, load
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import stored_samples
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.rng import derive_seed, stream
from wherefrom.generators.loading import load_generator

ARCHITECTURES = ("dcgan", "wgan-gp", "ebgan", "lsgan")
OWNERS = tuple(f"{kind}-{seed}" for seed in (0, 1) for kind in ARCHITECTURES)
DEVELOPMENT = ("dcgan-0", "wgan-gp-0", "ebgan-0")
METHODS = ("flipad", "patches")
COMMAND = "python experiments/attribution_siblings.py --data FASHION_MNIST"
OUT = Path("docs/results/attribution_siblings.json")


def reduced_settings(args: argparse.Namespace) -> AttributionConfig:
    """The reduced settings of the method."""
    values = {"calibration_samples": args.calibration}
    if args.method == "flipad":
        values |= {
            "train_samples": args.train,
            "mean_samples": 2000,
            "classifier_samples": args.classifier,
            "detector.epochs": args.epochs,
        }
    else:
        values |= {"train_samples": args.classifier}
    return find_method(args.method).presets["default"].with_values(values)


def fitted_for(owner: str, real: Tensor, args: argparse.Namespace) -> Attributor:
    """The stored attributor of that owner, or a new one."""
    path = args.work / f"{owner}{suffix(args.method, '-')}.attributor"
    if path.exists():
        return load(path)
    seed = derive_seed(args.seed, "siblings", owner)
    others = real[torch.randperm(len(real), generator=stream(seed, "real"))][: args.train * 5 // 4]
    fitted = attribution.fit(
        load_generator(f"zoo:fashion-{owner}"),
        others,
        method=args.method,
        config=reduced_settings(args),
        seed=seed,
    )
    fitted.save(path)
    return fitted


def suffix(method: str, separator: str) -> str:
    """What the files of a method are called besides; the names of FLIPAD's are older."""
    return "" if method == "flipad" else f"{separator}{method}"


def called_own(fitted: Attributor, images: Tensor) -> float:
    """Share of the images that is called "made by this model"."""
    rows = fitted.check(images).images
    return sum(row.verdict is Verdict.OURS for row in rows) / len(rows)


def judged(owner: str, fitted: Attributor, count: int, seed: int) -> dict[str, Any]:
    """Shares called own, by source, with the guard and without it."""
    unguarded = replace(fitted, sibling_scores={})
    sources = {}
    for name in OWNERS:
        drawn = derive_seed(seed, "judged", owner, name)
        images = stored_samples(load_generator(f"zoo:fashion-{name}"), count, drawn)
        sources["own" if name == owner else name] = {
            "guarded": called_own(fitted, images),
            "unguarded": called_own(unguarded, images),
        }
    return sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST's idx.gz")
    parser.add_argument("--method", default=METHODS[0], choices=METHODS)
    parser.add_argument("--out", type=Path, help=f"default: {OUT}, and the method in its name")
    parser.add_argument("--work", type=Path, default=Path("build/attribution_siblings"))
    parser.add_argument("--owners", nargs="*", default=list(OWNERS), choices=OWNERS)
    parser.add_argument("--train", type=int, default=500, help="own images of FLIPAD; others")
    parser.add_argument(
        "--classifier", type=int, default=3000, help="own images of its classifier, or of patches"
    )
    parser.add_argument("--epochs", type=int, default=10, help="of Deep SAD")
    parser.add_argument("--calibration", type=int, default=400)
    parser.add_argument("--test", type=int, default=400, help="images per source")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    real, digest = unseen_clothes(args.data)
    args.work.mkdir(parents=True, exist_ok=True)
    owners = {}
    for owner in args.owners:
        fitted = fitted_for(owner, real, args)
        sources = judged(owner, fitted, args.test, args.seed)
        owners[owner] = {"development": owner in DEVELOPMENT, "sources": sources}
        print(owner, json.dumps(sources), flush=True)
    settings = {
        k: v
        for k, v in vars(args).items()
        if not isinstance(v, Path) and k not in ("owners", "out")
    }
    result = {
        "command": f"{COMMAND} --method {args.method}",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "data": digest,
        "settings": settings,
        "rates": {
            "sibling": fitted.config.sibling_rate,
            "other": fitted.config.false_positive_rate,
        },
        "owners": owners,
    }
    out = args.out or OUT.with_stem(f"{OUT.stem}{suffix(args.method, '_')}")
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
