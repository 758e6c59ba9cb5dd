"""Which damage, and whose generated images, does the test of damage find?

    python experiments/anomaly_broken.py --data DATA

DATA holds `cifar10/train.tar`, `photos/` and `generated/`.  Two tests are fitted, each to real
images alone: CIFAR-10 (32 px), and photographs (central 224 px).  Other real images of each are
damaged in the five ways of `wherefrom.data.altering.corruptions`, none of which a test practises
on, and are told from the same number of further real images, undamaged.  The column "without the
nearest practice" is of a test that did not practise on the kinds that are most like the damage.

The generated images are those of `anomaly_real.py`, written with the JPEG settings of CIFAR-10's
own files.  AUC: of the largest score, and of each kind of evidence; intervals are
percentiles of 500 bootstrap draws of the images, 95 %.
Flagged: the share of images at a false-alarm rate of 5 %.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from anomaly_images import write
from anomaly_real import read_real, read_sources
from torch import Tensor

from wherefrom import __version__
from wherefrom.anomaly import DamageConfig, DamageTest
from wherefrom.anomaly.damage.fitted import EVIDENCE, MeasuredReal, measure_real, shape_test
from wherefrom.anomaly.damage.measuring import measure, read_all
from wherefrom.anomaly.damage.practice import PRACTICE
from wherefrom.calibration.conformal import upper_p_values
from wherefrom.core.progress import quiet
from wherefrom.core.rng import stream
from wherefrom.data import save_png
from wherefrom.data.altering.corruptions import CORRUPTIONS, corrupt
from wherefrom.data.folders import list_images
from wherefrom.data.images.items import crop_and_resize, read_image
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.metrics.detection import auroc

RESULT = Path("docs/results/anomaly_broken.json")
RATE = 0.05
NEAREST = {
    "blur": ("enlarged",),
    "jpeg": ("compressed",),
    "noise": ("spots", "speckle"),
    "patch-swap": ("displaced",),
    "warp": ("bent", "waves"),
}


def scores_of(folder: Path, test: DamageTest) -> Tensor:
    """The four scores of all images of a folder, (N, 4)."""
    network = test.network()
    seen = list(read_all(list_images([folder]), network.resolution, [], quiet))
    return test.scores(measure(seen, network))


def compared(clean: Tensor, other: Tensor, test: DamageTest) -> dict[str, Any]:
    """AUC of the largest score and of each kind, and the share that is flagged."""
    rng = stream(0, "bootstrap")
    drawn = torch.tensor(
        [
            auroc(
                *(
                    s.amax(1)[torch.randint(len(s), (len(s),), generator=rng)]
                    for s in (clean, other)
                )
            )
            for _ in range(500)
        ]
    )
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975])).tolist()
    p_values = upper_p_values(other.amax(1), test.held_scores.amax(1))
    return {
        "auc": auroc(clean.amax(1), other.amax(1)),
        "interval": [low, high],
        "each": {k: auroc(clean[:, i], other[:, i]) for i, k in enumerate(EVIDENCE)},
        "flagged": float((p_values <= RATE).double().mean()),
    }


def write_png(images: Tensor, folder: Path) -> None:
    """uint8 images (N, 3, H, W) as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, image in enumerate(images):
        if not (path := folder / f"{row:04d}.png").exists():
            save_png(image, path)


def damage_rows(name: str, real: MeasuredReal, tested: Tensor, work: Path) -> Any:
    """Damage half of the tested uint8 images."""
    clean, hurt = tested.split([len(tested) // 2, len(tested) - len(tested) // 2])
    write_png(clean, work / name / "clean")
    keys = [f"{name} {row}" for row in range(len(hurt))]
    whole = shape_test(real)
    rows = []
    undamaged = scores_of(work / name / "clean", whole)
    for kind in CORRUPTIONS:
        less = shape_test(real, [k for k in PRACTICE if k not in NEAREST[kind]])
        for grade in (1, 2, 3):
            folder = work / name / f"{kind}-{grade}"
            write_png(to_uint8(corrupt(to_float(hurt), kind, grade, keys=keys)), folder)
            row = compared(undamaged, scores_of(folder, whole), whole)
            clean_less = scores_of(work / name / "clean", less)
            without = compared(clean_less, scores_of(folder, less), less)
            rows.append(
                {
                    "damage": kind,
                    "grade": grade,
                    **row,
                    "without": {k: without[k] for k in ("auc", "flagged")},
                }
            )
            print(name, kind, grade, f"{row['auc']:.3f} {without['auc']:.3f}", flush=True)
    p_values = upper_p_values(undamaged.amax(1), whole.held_scores.amax(1))
    return {
        "real": dict(real.provenance["images"]),
        "tested": [len(clean), len(hurt)],
        "practised": len(real.altered["mixture"]),
        "held out": len(whole.held_scores),
        "false alarms": float((p_values <= RATE).double().mean()),
        "rows": rows,
    }


def generated_rows(data: Path, real: MeasuredReal, tested: Tensor, work: Path) -> Any:
    """Generated images of CIFAR-10 against real ones, all with the same JPEG settings."""
    write(tested, work / "generated" / "clean")
    test = shape_test(real)
    undamaged = scores_of(work / "generated" / "clean", test)
    rows = []
    for source in read_sources(data / "generated"):
        write(torch.from_numpy(source.images).permute(0, 3, 1, 2), work / "generated" / source.name)
        row = compared(undamaged, scores_of(work / "generated" / source.name, test), test)
        known = {"name": source.name, "family": source.family, "fid": source.fid, "of": source.of}
        rows.append({**known, "jpeg": source.jpeg, "images": len(source.images), **row})
        print(source.name, f"{row['auc']:.3f}", row["each"], flush=True)
    p_values = upper_p_values(undamaged.amax(1), test.held_scores.amax(1))
    return {
        "real": dict(real.provenance["images"]),
        "tested": len(tested),
        "held out": len(test.held_scores),
        "false alarms": float((p_values <= RATE).double().mean()),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/anomaly-broken"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    every = read_real(args.data / "cifar10" / "train.tar")
    cifar = every[torch.randperm(len(every), generator=stream(0, "broken"))[:2300]]
    photographs = torch.stack(
        [
            crop_and_resize(read_image(path, channels=3, losses=False).pixels, (224, 224))
            for path in list_images([args.data / "photos"])
        ]
    )
    order = torch.randperm(len(photographs), generator=stream(0, "broken"))
    write(cifar[:2000], args.work / "real")
    write_png(photographs[order][:-200], args.work / "photographs")
    small = measure_real(args.work / "real", config=DamageConfig(practised=1000))
    large = measure_real(args.work / "photographs", config=DamageConfig(practised=150))
    outcome = {
        "version": __version__,
        "command": shlex.join(["python", *sys.argv]),
        "rate": RATE,
        "generated": generated_rows(args.data, small, cifar[2000:], args.work),
        "damage": {
            "CIFAR-10, 32 px": damage_rows("cifar", small, cifar[2000:], args.work),
            "photographs, 224 px": damage_rows(
                "photos", large, photographs[order][-200:], args.work
            ),
        },
    }
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")


if __name__ == "__main__":
    main()
