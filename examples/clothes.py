"""Folders of images of known making, of the clothes and the generators that the package ships.

    python examples/clothes.py clothes/

`real` holds 1,900 real images to fit with; `test-own` 300 images of the owner's model, a DCGAN of
clothes; `test-...` as many of a second seed of the same architecture, of three other GANs, and of
further real images; `suspects` six of each, under names that tell the truth.  All have 32 px.
"""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from wherefrom.data import save_png, to_uint8
from wherefrom.generators.loading import load_generator

OWNER = "fashion-dcgan-0"
RIVALS = ("fashion-dcgan-1", "fashion-wgan-gp-0", "fashion-lsgan-0", "fashion-ebgan-0")
REAL, TEST, SUSPECTS = 1900, 300, 6
SEED = 2026


def write_real(home: Path) -> None:
    """Fashion-MNIST test images out of the package, as PNG files of 32 px."""
    shipped = files("wherefrom") / "assets" / "fashion-mnist" / "test-images-0-2600.npz"
    with np.load(str(shipped), allow_pickle=False) as archive:
        images = torch.from_numpy(np.pad(archive["images"], ((0, 0), (2, 2), (2, 2))))
    for name, start, stop in (("real", 0, REAL), ("test-real", REAL, REAL + TEST)):
        (home / name).mkdir()
        for index in range(start, stop):
            save_png(images[index], home / name / f"{index:05d}.png")


def write_generated(home: Path) -> None:
    """Images of the owner's model and of its rivals, as `wherefrom zoo sample` draws them."""
    for name in (OWNER, *RIVALS):
        folder = home / ("test-own" if name == OWNER else f"test-{name}")
        folder.mkdir()
        batches = load_generator(f"zoo:{name}").sample_with_activations(TEST, SEED, batch=1)
        for index, (image, _) in enumerate(batches):
            save_png(to_uint8(image)[0], folder / f"{index:03d}.png")


def copy_suspects(home: Path) -> None:
    """A few images of every test folder in one, under names that tell the truth."""
    (home / "suspects").mkdir()
    for folder in sorted(home.glob("test-*")):
        for path in sorted(folder.glob("*.png"))[:SUSPECTS]:
            name = f"{folder.name.removeprefix('test-')}-{path.name}"
            shutil.copyfile(path, home / "suspects" / name)


def main() -> None:
    """Write everything into a new folder."""
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("name one folder that does not exist yet")
    home = Path(sys.argv[1])
    home.mkdir(parents=True)
    write_real(home)
    write_generated(home)
    copy_suspects(home)


if __name__ == "__main__":
    main()
