"""How much memory do large images and large folders need?

    python benchmarks/reading.py          three cases, made here
    python benchmarks/reading.py --save   the same, kept in docs/results/reading.json

`peak` is the largest resident memory of a process that reads, `start` that before it reads, both in
MiB.  Images are made and read in processes of their own: a process inherits the peak of its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from wherefrom import __version__

ROOT = Path(__file__).parents[1]
SAVED = ROOT / "docs" / "results" / "reading.json"
LARGE = (16_330, 12_250)  # 200 million pixels
FILES, SIDE = 5_000, 256
INPUTS = {
    "large.jpg": "JPEG of 200 million pixels",
    "large.png": "PNG with transparency of 200 million pixels",
    "folder": f"{FILES:,} PNG files of {SIDE} px (938 MiB of pixels)",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", action="store_true", help=f"write {SAVED.relative_to(ROOT)}")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make(args.make)
        return
    if args.read:
        print(json.dumps(measured(args.read)))
        return
    rows = []
    for name, title in INPUTS.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            run("--make", path)
            rows.append({"input": title, **json.loads(run("--read", path))})
        print(rows[-1], flush=True)
    if args.save:
        result = {
            "command": "python benchmarks/reading.py --save",
            "wherefrom": __version__,
            "cores": os.cpu_count(),
            "system": platform.system(),
            "rows": rows,
        }
        SAVED.write_text(json.dumps(result, indent=1) + "\n")


def run(option: str, path: Path) -> str:
    """This script with one option, in another process: what it prints."""
    command = [sys.executable, __file__, option, str(path)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def make(path: Path) -> None:
    """Write one of INPUTS."""
    rng = np.random.default_rng(0)
    if path.name == "folder":
        path.mkdir()
        for number in range(FILES):
            coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            smooth = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            smooth.save(path / f"{number:05d}.png")
        return
    band = rng.integers(0, 256, (64, LARGE[0], 4), dtype=np.uint8)
    pixels = np.tile(band, (LARGE[1] // 64 + 1, 1, 1))[: LARGE[1]]
    if path.suffix == ".jpg":
        Image.fromarray(pixels[..., :3]).save(path, quality=90)
    else:
        Image.fromarray(pixels).save(path, compress_level=1)


def measured(path: Path) -> dict[str, float]:
    """Seconds, and MiB of resident memory before and at most."""
    from wherefrom.data.folders import read_images

    before = peak_mib()
    start = time.perf_counter()
    batch = read_images([path], channels=3, size=(SIDE, SIDE), resize=True)
    if batch.skipped:
        raise SystemExit(f"{len(batch.skipped)} files were not read: {batch.skipped[0]}")
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 1), "start": before, "peak": peak_mib()}


def peak_mib() -> int:
    """The largest resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
