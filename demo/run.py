"""The main job on real input, as a person would do it: fit, check, evaluate, look at the report.

The owner's model is a DCGAN of clothes shipped with the package.  The suspects are its own images,
those of a second seed of the same architecture, of three other GANs, and real photographs
(Fashion-MNIST).  No rival's image enters the fit.
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
    print(f"\nDone in {time.monotonic() - start:.0f} s.  Open {OUT / 'check.html'}")


if __name__ == "__main__":
    main()
