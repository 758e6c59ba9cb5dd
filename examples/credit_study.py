"""A credit study that runs on two cores in minutes: five contributors of the shipped clothes.

    python examples/credit_study.py study/
    wherefrom credit run study/study.toml

The garments (Fashion-MNIST, test images, 16 px) are parted by what they look like, so that the
contributors differ; the model is a DDPM of 160 thousand weights.  It shows every command, not how
well such a model draws: its images are blurred shapes.
"""

import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans

from wherefrom.data import save_png

CONTRIBUTORS, EACH = 5, 40
STUDY = """\
[contributors]
folder = "data"
channels = 1
size = 16

[game]
kind = "retrain"  # "sparsified" is the default; it is cheaper where a model takes hours

[design]
runs = 24
payout = true  # more runs of the empty and the full set: money needs a certain gain

[model]
width = 16
levels = 2
blocks = 1
attention = false
groups = 4

[training]
steps = 120
batch = 16
learning_rate = 3e-3
average = 0.95
flip = false

[sampling]
images = 64
steps = 20

[[property]]
kind = "frechet"

[[property]]
kind = "diversity"
"""


def write_contributors(folder: Path) -> None:
    """One folder of images per contributor, each of one kind of garment."""
    shipped = files("wherefrom") / "assets" / "fashion-mnist" / "test-images-0-2600.npz"
    with np.load(str(shipped), allow_pickle=False) as archive:
        padded = np.pad(archive["images"][:1000], ((0, 0), (2, 2), (2, 2)))
    small = padded.reshape(-1, 16, 2, 16, 2).mean((2, 4)).round().astype(np.uint8)
    kinds = KMeans(CONTRIBUTORS, n_init=4, random_state=0).fit_predict(small.reshape(1000, -1))
    for kind in range(CONTRIBUTORS):
        home = folder / f"archive-{'abcde'[kind]}"
        home.mkdir(parents=True)
        for index in np.flatnonzero(kinds == kind)[:EACH]:
            save_png(torch.from_numpy(small[index]), home / f"{index:04d}.png")


def main() -> None:
    """Write the images and the study file into a new folder."""
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("name one folder that does not exist yet")
    home = Path(sys.argv[1])
    write_contributors(home / "data")
    (home / "study.toml").write_text(STUDY)


if __name__ == "__main__":
    main()
