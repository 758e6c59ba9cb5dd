"""Two jobs on real input, as a person would do them.

Did my model make this: fit, check, evaluate, look at the report.  Which generator is best, and
which images are broken: audit.

The owner's model is a DCGAN of clothes shipped with the package.  The suspects are its own images,
those of a second seed of the same architecture, of three other GANs, and real photographs
(Fashion-MNIST).  No rival's image enters the fit.  The audit sees three of the rivals and the
owner's model, few images of each, at small settings.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from wherefrom.data import save_png

OUT = Path(__file__).parent / "out"
OWNER = "fashion-dcgan-0"
RIVALS = ("fashion-dcgan-1", "fashion-wgan-gp-0", "fashion-lsgan-0", "fashion-ebgan-0")
OTHERS, TEST, SUSPECTS = 1900, 300, 6
AUDITED = {"real": ("real", 160), "own": ("test-own", 40)} | {
    name: (f"test-{name}", 40) for name in RIVALS[1:]
}


def unpack_photographs() -> None:
    """Fashion-MNIST test images out of the package, as PNG files of 32 px."""
    shipped = files("wherefrom") / "assets" / "fashion-mnist" / "test-images-0-2600.npz"
    with np.load(str(shipped), allow_pickle=False) as archive:
        images = torch.from_numpy(np.pad(archive["images"], ((0, 0), (2, 2), (2, 2))))
    for name, start, stop in (("real", 0, OTHERS), ("test-real", OTHERS, OTHERS + TEST)):
        (OUT / name).mkdir(parents=True)
        for index in range(start, stop):
            save_png(images[index], OUT / name / f"{index:05d}.png")


def gather_suspects() -> None:
    """A few images of every source in one folder, under names that tell the truth."""
    (OUT / "suspects").mkdir()
    for folder in sorted(OUT.glob("test-*")):
        for path in sorted(folder.glob("*.png"))[:SUSPECTS]:
            target = f"{folder.name.removeprefix('test-')}-{path.name}"
            shutil.copyfile(path, OUT / "suspects" / target)


def gather_audited() -> list[Path]:
    """The real images and those of each generator that are audited, the real ones first."""
    for name, (source, count) in AUDITED.items():
        (OUT / "audited" / name).mkdir(parents=True)
        for path in sorted((OUT / source).glob("*.png"))[:count]:
            shutil.copyfile(path, OUT / "audited" / name / path.name)
    return [OUT / "audited" / name for name in AUDITED]


def wherefrom(*arguments: str | Path) -> None:
    """Run one command line, shown first."""
    words = [str(word) for word in arguments]
    print("\n$ wherefrom", *words, flush=True)
    subprocess.run([sys.executable, "-m", "wherefrom.cli.main", *words], check=True)


def main() -> None:
    start = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    unpack_photographs()
    wherefrom("zoo", "list")
    for name in (OWNER, *RIVALS):
        folder = OUT / ("test-own" if name == OWNER else f"test-{name}")
        wherefrom(
            *("zoo", "sample", f"zoo:{name}", "--count", TEST, "--seed", 2026, "--out", folder)
        )
    mine = OUT / "mine.attributor"
    wherefrom(
        *("attribution", "fit", "--generator", f"zoo:{OWNER}", "--others", OUT / "real"),
        *("--preset", "quick", "--out", mine),
    )
    gather_suspects()
    wherefrom("attribution", "check", mine, OUT / "suspects", "--report", OUT / "check.html")
    others = [f"{f.name.removeprefix('test-')}={f}" for f in sorted(OUT.glob("test-*"))]
    flags = [w for o in others if not o.startswith("own=") for w in ("--other", o)]
    wherefrom(
        *("attribution", "evaluate", mine, "--own", OUT / "test-own", *flags),
        *("--report", OUT / "evaluation.html", "--csv", OUT / "evaluation.csv"),
    )
    wherefrom(
        *("anomaly", "audit", *gather_audited(), "--out", OUT / "audit", "--preset", "paper"),
        *("--resolution", 64, "--heat-maps", 3, "--localisation-repeats", 2),
    )
    pages = f"{OUT / 'check.html'} and {OUT / 'audit' / 'report.html'}"
    print(f"\nDone in {time.monotonic() - start:.0f} s.  Open {pages}")


if __name__ == "__main__":
    main()
