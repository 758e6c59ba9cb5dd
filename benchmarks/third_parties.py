"""Third parties' pretrained generators: which of them made an image?

    pip download --no-deps gan-face-generate==1.1.1     # weights.tar: examples/face_dcgan.py
    npm pack @upscalerjs/esrgan-slim                    # package/models/x2
    python benchmarks/third_parties.py --weights weights.tar --upscaler package/models/x2 \\
        --data DATA --taef2 TAEF2

Three owners, 64 px: a DCGAN of faces (the paper's last layer), the decoder of the autoencoder
TAEF2, and the upscaler ESRGAN-slim; the last two remake photographs.  The others of every fit are
photographs.  Judged are photographs that nothing has seen, what every other model makes, what a
model of this project's zoo makes (Fashion-MNIST, enlarged from 32 px), and the owner's own content
made by others: by the autoencoder, by four rivals trained out of the DCGAN (face_rivals.py), and by
the DCGAN itself with rounded, pruned or nudged weights (altered_copies.py).
None of these is in a fit.

FLIPAD's fits are reduced (--train, --classifier, --epochs).  "Patches, default" has the training
images of its default preset: its fit takes a minute or two.

--alter judges the DCGAN's sources after one alteration, by an expert that was trained on its kind
(FLIPAD's Table 3 does the same), with a threshold from own images after it.

Every method is kept in --work as soon as it is done, so a run that was stopped continues;
--only-owner and --only-seed share the work between processes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from altered_copies import COPIES, altered_copy
from face_rivals import make_rivals
from taef2 import TAEF2
from torch import Tensor, nn
from torch.nn import functional as F
from upscaler import Upscaler

from wherefrom import __version__, attribution
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.evaluation.robustness import judge_altered
from wherefrom.attribution.images.conditions import Immunity, specialties
from wherefrom.attribution.methods import find_method
from wherefrom.attribution.protocol import FitMaterial, stored_samples
from wherefrom.calibration.conformal import threshold_at_rate
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data import load_training_images, to_float, to_uint8
from wherefrom.data.altering.degradations import Alteration
from wherefrom.generators.generator import Generator, wrap_generator
from wherefrom.generators.loading import load_generator

FACE = Path(__file__).parents[1] / "examples" / "face_dcgan.py"
SIDE = 64
RATES = (0.005, 0.05)
SETTINGS = ("train", "classifier", "calibration", "test", "epochs")
EARLY = {"impostors": 0.0, "classifier_samples": 0}  # the paper's, on early-stopped inversions
PATCHES = {"Patches, default": ("patches", {})}
PAPER = EARLY | {"lasso.effort": "exact", "lasso.gap": 1e-2}
WINDOW = {"crop": 32, "halo": 8}  # 64 channels of 64 x 64 are many


class Remaker(nn.Module):
    """A network that remakes images, as a generator: it is given crops of photographs."""

    def __init__(
        self, network: nn.Module, remake: Callable[[Tensor], Tensor], photographs: Tensor
    ) -> None:
        super().__init__()
        self.network, self.remake, self.photographs = network, remake, photographs

    def sample(self, n: int, seed: int) -> Tensor:
        """Crops of `photographs` (uint8, larger than 64 px) that the seed chooses, remade."""
        rng = stream(seed, "remaker")
        which = torch.randint(len(self.photographs), (n,), generator=rng)
        free = self.photographs.shape[-1] - SIDE
        down, right = torch.randint(free + 1, (2, n), generator=rng)
        crops = [
            self.photographs[i, :, a : a + SIDE, b : b + SIDE]
            for i, a, b in zip(which.tolist(), down.tolist(), right.tolist(), strict=True)
        ]
        return self.remake(to_float(torch.stack(crops)))

    def reconstruct(self, images: Tensor) -> Tensor:
        """What the network makes of images (N, 3, 64, 64) in [0, 1]."""
        return self.remake(images)


@dataclass(frozen=True)
class Owner:
    """A model, the settings of the methods that judge for it, and what makes its content again."""

    generator: Generator
    methods: dict[str, tuple[str, dict[str, Any]]]
    rivals: dict[str, Callable[[int, int], Tensor]] = field(default_factory=dict)


def owners(args: argparse.Namespace, photographs: Tensor) -> dict[str, Owner]:
    """The three models; `photographs` (uint8, 80 px) are what the last two remake."""
    face = load_generator(f"{FACE}:G", weights=args.weights)
    taef2, upscaler = TAEF2(args.taef2), Upscaler(args.upscaler)

    def encoded(x: Tensor) -> Tensor:
        made: Tensor = taef2.decoder(taef2.encoder(x)).clamp(0, 1)
        return made

    def enlarged(x: Tensor) -> Tensor:
        made: Tensor = upscaler(F.avg_pool2d(x, 2))
        return made

    decoder = wrap_generator(Remaker(taef2, encoded, photographs), value_range=(0.0, 1.0))
    larger = wrap_generator(Remaker(upscaler, enlarged, photographs), value_range=(0.0, 1.0))

    def again(maker: Generator) -> Callable[[int, int], Tensor]:
        """The owner's faces, remade."""

        def draw(n: int, seed: int) -> Tensor:
            faces = to_float(stored_samples(face, n, seed))
            return to_uint8(torch.cat([maker.reconstruct(part) for part in faces.split(16)]))

        return draw

    def drawn(maker: Generator) -> Callable[[int, int], Tensor]:
        return lambda n, seed: stored_samples(maker, n, seed)

    trained = make_rivals(face, photographs[:, :, 8:72, 8:72], args.work)
    copies = {name: altered_copy(face, change) for name, change in COPIES.items()}
    models = {"DCGAN of faces": face, "TAEF2": decoder, "ESRGAN-slim": larger}
    both: dict[str, tuple[str, dict[str, Any]]] = {
        "FLIPAD, paper": ("flipad", PAPER),
        "FLIPAD, early-stopped": ("flipad", EARLY),
        "FLIPAD, default": ("flipad", {}),
        **PATCHES,
    }
    found = {
        "DCGAN of faces": Owner(
            face,
            both,
            {
                "TAEF2 of own faces": again(decoder),
                "ESRGAN-slim of own faces": again(larger),
                **{f"DCGAN, {name}": drawn(one) for name, one in trained.items()},
                **{name: drawn(one) for name, one in copies.items()},
            },
        ),
        "TAEF2": Owner(
            decoder,
            {
                "FLIPAD, paper": ("flipad", PAPER | WINDOW),
                "FLIPAD, early-stopped": ("flipad", EARLY | WINDOW),
                "FLIPAD, default": ("flipad", WINDOW),
                **PATCHES,
                "AEDR": ("autoencoder", {}),
            },
            {"TAEF2 of faces": again(decoder)},
        ),
        "ESRGAN-slim": Owner(larger, both, {"ESRGAN-slim of faces": again(larger)}),
    }
    for name, owner in found.items():
        owner.rivals.update({other: drawn(m) for other, m in models.items() if other != name})
        owner.rivals["zoo's DCGAN"] = zoo_images
    return found


def zoo_images(n: int, seed: int) -> Tensor:
    """Clothes by the zoo's DCGAN, enlarged to 64 px and made colour images, uint8."""
    small = to_float(stored_samples(load_generator("zoo:fashion-dcgan-0"), n, seed))
    large = F.interpolate(small, size=SIDE, mode="bilinear", antialias=True)
    return to_uint8(large.expand(-1, 3, -1, -1).contiguous())


def judged_images(
    owner: Owner, unseen: Tensor, seed: int, args: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Own images that no fit sees, and every source's."""
    sources = {"photographs": unseen[: args.test]}
    for name, draw in owner.rivals.items():
        sources[name] = draw(args.test, derive_seed(seed, "third parties", name))
    own = stored_samples(owner.generator, args.test, derive_seed(seed, "third parties", "own"))
    return own, sources


def settings(method: str, changes: dict[str, Any], args: Any) -> AttributionConfig:
    """The reduced settings of a method."""
    values = {"calibration_samples": args.calibration, "false_positive_rate": 0.05}
    if method == "flipad":
        values |= {
            "train_samples": args.train,
            "mean_samples": 1000,
            "detector.epochs": args.epochs,
            "classifier_samples": args.classifier,
        }
    return find_method(method).presets["default"].with_values({**values, **changes})


def one_alteration(
    owner: Owner, pool: Tensor, unseen: Tensor, alteration: Alteration, seed: int, args: Any
) -> dict[str, Any]:
    """An expert on the kind of the alteration; every source after it, at each of RATES."""
    own, sources = judged_images(owner, unseen, seed, args)
    kind = alteration.kind
    worn = specialties(Immunity(1.0, (kind,)))[kind]
    others = worn.applied(pool, seed, "others")
    material = FitMaterial(owner.generator, others, seed, immunity=worn)
    scorer = find_method("flipad").fit(material, settings("flipad", {}, args))
    held_seed = derive_seed(seed, "third parties", "held")
    held = stored_samples(owner.generator, args.calibration, held_seed)
    return {
        str(rate): asdict(
            judge_altered(
                scorer.score, alteration, held=held, own=own, sources=sources, rate=rate, seed=seed
            )
        )
        for rate in RATES
    }


def one_seed(
    owner: Owner, pool: Tensor, unseen: Tensor, seed: int, kept: Path, args: Any
) -> dict[str, Any]:
    """By method of the owner, every source judged: what `kept` has, or fitted now and kept."""
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    missing = [] if args.kept else [title for title in owner.methods if title not in found]
    if missing:
        own, sources = judged_images(owner, unseen, seed, args)
    for title in missing:
        method, changes = owner.methods[title]
        config = settings(method, changes, args)
        fitted = attribution.fit(owner.generator, pool, method=method, config=config, seed=seed)
        result = attribution.evaluate(fitted, own, sources)
        found[title] = [
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
        kept.write_text(json.dumps(found))
    return {title: found[title] for title in owner.methods if title in found}


def share_above(scores: Sequence[float], fitted: attribution.Attributor, rate: float) -> float:
    """Share of scores called not ours at this false-negative rate."""
    threshold = threshold_at_rate(fitted.own_scores, rate)
    return sum(score > threshold for score in scores) / len(scores)


def summarise(owner: str, seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per method and source, each measure as a list over the seeds that have it."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for method, row in ((m, row) for seed in seeds for m, rows in seed.items() for row in rows):
        found.setdefault((method, row["source"]), []).append(row)
    return [
        {"owner": owner, "method": method, "source": source}
        | {k: [m[k] for m in mine] for k in mine[0] if k != "source"}
        for (method, source), mine in found.items()
    ]


def run_altered(owner: Owner, shown: Tensor, args: argparse.Namespace) -> None:
    """Every alteration and seed, kept and written; `shown` are all photographs at 64 px."""
    cells = []
    for seed in range(args.seeds) if args.only_seed is None else [args.only_seed]:
        for alteration in args.alter:
            kept = args.work / f"altered-{alteration}-{seed}.json"
            if args.kept and not kept.exists():
                continue
            if not kept.exists():
                found = one_alteration(owner, shown[400:650], shown[650:], alteration, seed, args)
                kept.write_text(json.dumps(found))
            cells.append(
                {"alteration": str(alteration), "seed": seed, "rates": json.loads(kept.read_text())}
            )
            print(cells[-1], flush=True)
    result = {
        "command": "python benchmarks/third_parties.py ... --alter "
        + " ".join(map(str, args.alter)),
        "wherefrom": __version__,
        "settings": {k: getattr(args, k) for k in SETTINGS},
        "cells": cells,
    }
    target = args.out.with_name(f"{args.out.stem}_altered.json")
    target.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="gan-face-generate weights.tar")
    parser.add_argument(
        "--upscaler", type=Path, required=True, help="esrgan-slim package/models/x2"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/")
    parser.add_argument("--taef2", type=Path, required=True, help="folder of TAEF2's safetensors")
    parser.add_argument("--work", type=Path, default=Path("build/third_parties"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/third_parties.json"))
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--classifier", type=int, default=2000, help="crops per kind of image")
    parser.add_argument("--calibration", type=int, default=250)
    parser.add_argument("--test", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only-owner", help="run this owner only, and write no table")
    parser.add_argument("--kept", action="store_true", help="a table of what --work has, no fits")
    parser.add_argument("--only-seed", type=int, help="run this seed only, and write no table")
    parser.add_argument("--alter", type=Alteration.parse, nargs="*", help="as in jpeg=80")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    # 400 photographs are remade, 250 are the others of the fits, the rest are judged.
    photographs = load_training_images(args.data / "photos", size=80, channels=3).images
    order = torch.randperm(len(photographs), generator=stream(0, "third parties", "photographs"))
    photographs = photographs[order]
    shown = photographs[:, :, 8:72, 8:72]
    known = owners(args, photographs[:400])
    if args.alter:
        run_altered(known["DCGAN of faces"], shown, args)
        return
    rows, ran, partial = [], {}, args.only_owner or args.only_seed is not None
    for name, owner in known.items():
        if args.only_owner not in (None, name):
            continue
        seeds = []
        for seed in range(args.seeds) if args.only_seed is None else [args.only_seed]:
            kept = args.work / f"{name.replace(' ', '-')}-{seed}.json"
            found = one_seed(owner, shown[400:650], shown[650:], seed, kept, args)
            if found:
                seeds.append(found)
                print(name, seed, found, flush=True)
        rows += summarise(name, seeds) if seeds else []
        ran[name] = len(seeds)
    if partial:
        return
    result = {
        "command": "python benchmarks/third_parties.py --weights W --upscaler U --data D --taef2 T",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "owners": {name: owner.generator.digest for name, owner in known.items()},
        "seeds": ran,
        "settings": {k: getattr(args, k) for k in SETTINGS},
        "rows": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
