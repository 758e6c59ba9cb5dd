"""Real images and those of GANs at several stages of training, as files, for anomaly_tables.py.

    python experiments/anomaly_images.py --data ../shared/data/cifar10/train.tar

The GAN is the zoo's DCGAN at 32 px.  Of the real images a fixed fifth is held out of all training:
from it come the reference images ("real") and others that play the part of one more generator
("real-other").  Every image is written with the JPEG settings of the data's own files, so that
compression cannot tell the sets apart.  Training continues where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.rng import stream
from wherefrom.data import load_training_images, to_uint8
from wherefrom.data.images.items import to_image
from wherefrom.generators.zoo.training import GanTask, ZooTrainingConfig
from wherefrom.training.loop import Checkpoints, run

STAGES = (100, 400, 1600, 6400)
JPEG = {"quality": 75, "subsampling": "4:2:0"}  # the tables and sampling of the data's own files


def write(images: Tensor, folder: Path) -> None:
    """uint8 images (N, 3, S, S) as JPEG files: the whole folder or none of it."""
    if folder.exists():
        return
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for index, image in enumerate(images):
        to_image(image).save(part / f"{index:04d}.jpg", **JPEG)
    part.rename(folder)


@torch.no_grad()
def sample(task: GanTask, count: int) -> Tensor:
    """uint8 images (count, 3, 32, 32) of the generator as it stands."""
    task.generator.eval()
    z = torch.randn(count, task.config.latent, generator=stream(task.config.seed, "stage samples"))
    return to_uint8((task.generator(z) + 1) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/anomaly"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES))
    parser.add_argument("--real", type=int, default=600, help="reference images")
    parser.add_argument("--each", type=int, default=200, help="images per generator")
    parser.add_argument("--width", type=int, default=32)
    args = parser.parse_args()
    data = load_training_images(args.data, size=32, channels=3)
    order = torch.randperm(len(data.images), generator=stream(0, "held out"))
    held, training = order.split([len(order) // 5, len(order) - len(order) // 5])
    write(data.images[held[: args.real]], args.work / "real")
    write(data.images[held[args.real : args.real + args.each]], args.work / "real-other")
    for seed in args.seeds:
        config = ZooTrainingConfig(
            size=32, width=args.width, steps=max(args.stages), precision="bf16", seed=seed
        )
        task = GanTask(data.images[training], config)
        identity = {"config": config.to_dict(), "images": data.digest}
        kept = Checkpoints(path=args.work / f"training-{seed}", every=200, identity=identity)
        wanted = [s for s in args.stages if not folder_of(args.work, s, seed).exists()]
        for stage in sorted(wanted):
            run(task, stage, label=f"seed {seed}", checkpoints=kept)
            write(sample(task, args.each), folder_of(args.work, stage, seed))
            print(f"seed {seed}: {stage} steps done", flush=True)


def folder_of(work: Path, stage: int, seed: int) -> Path:
    """Where the images of one stage lie."""
    return work / f"stage-{stage}-seed-{seed}"


if __name__ == "__main__":
    main()
