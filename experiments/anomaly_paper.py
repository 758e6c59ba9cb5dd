"""Tab. B.1 of the paper, and its t-tests of Tab. C.1 and E.1, with the network that pip installs.

    python experiments/anomaly_paper.py --data DATA

DATA holds `cifar10/train.tar` and `generated/`.  The real images are CIFAR-10; the generated ones
are published samples of EDM, the nearest relative of the paper's PFGM++ that was at hand, and of a
DDPM.  All are written with one JPEG setting.  What was measured is kept in `--work`: a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from anomaly_images import write

from wherefrom import __version__
from wherefrom.anomaly.measuring.cache import FolderCache
from wherefrom.anomaly.paper.reproduce import reproduce
from wherefrom.core.rng import stream
from wherefrom.data import load_training_images
from wherefrom.encoders import load_feature_encoder

RESULT = Path("docs/results/anomaly_paper.json")
GENERATORS = {"EDM": "cifar10_edm", "DDPM": "cifar10_w86763777_ddpm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/anomaly-paper"))
    parser.add_argument("--each", type=int, default=30, help="images of each generator")
    parser.add_argument("--real", type=int, default=50, help="real images")
    parser.add_argument("--resolution", type=int, default=96)
    args = parser.parse_args()
    torch.set_num_threads(1)
    real = load_training_images(args.data / "cifar10" / "train.tar", size=32, channels=3).images
    chosen = torch.randperm(len(real), generator=stream(0, "paper, real"))[: args.real]
    write(real[chosen], args.work / "sets" / "real")
    for name, file in GENERATORS.items():
        with np.load(args.data / "generated" / f"{file}.npz", allow_pickle=False) as stored:
            tiles = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2)
        chosen = torch.randperm(len(tiles), generator=stream(0, "paper", name))[: args.each]
        write(tiles[chosen], args.work / "sets" / name)
    result = reproduce(
        {name: [args.work / "sets" / name] for name in GENERATORS},
        [args.work / "sets" / "real"],
        load_feature_encoder(resolution=args.resolution),
        cache=FolderCache(args.work / "cache"),
    )
    outcome = {
        "version": __version__,
        "command": "python experiments/anomaly_paper.py --data DATA",
        "each": args.each,
        "real": args.real,
        "resolution": args.resolution,
        **result.to_dict(),
    }
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")


if __name__ == "__main__":
    main()
