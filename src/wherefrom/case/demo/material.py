"""The images that the package ships, split so that no image of clothes is used twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wherefrom.case.demo.config import DemoConfig
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track
from wherefrom.data.images.writing import save_png

ASSETS = Path(str(files("wherefrom") / "assets"))
STRANGER = "sunset"  # the photograph of `others` that serves the suspects alone
SIDES = ("mine", "others")


@dataclass(frozen=True, eq=False)
class DemoMaterial:
    """The images and settings that every part of the demo is fitted with."""

    folder: Path  # of the demo
    clothes: Mapping[str, Tensor]  # by purpose, uint8 (N, 1, 32, 32)
    config: DemoConfig
    seed: int
    track: Track


def shipped_clothes() -> Tensor:
    """Fashion-MNIST's first test images, uint8 (2600, 1, 32, 32)."""
    place = ASSETS / "fashion-mnist" / "test-images-0-2600.npz"
    with np.load(str(place), allow_pickle=False) as archive:
        padded = np.pad(archive["images"], ((0, 0), (2, 2), (2, 2)))
    return torch.from_numpy(padded)[:, None]


def part_clothes(images: Tensor, needed: Mapping[str, int]) -> dict[str, Tensor]:
    """The images by purpose, one after another; an `InputError` if there are too few."""
    total = sum(needed.values())
    if total > len(images):
        raise InputError(f"{total} images are needed, and {len(images)} are shipped; ask for fewer")
    parts = torch.split(images[:total], list(needed.values()))
    return dict(zip(needed, parts, strict=True))


def shipped_photographs(side: str) -> dict[str, Path]:
    """The files of the owner's photographs (`mine`) or of other people's (`others`), by name."""
    return {path.stem: path for path in sorted((ASSETS / "photographs" / side).glob("*.jpg"))}


def calibration_photographs() -> dict[str, Path]:
    """Other people's photographs that calibrate: all but those of the suspects."""
    others = shipped_photographs("others")
    return {name: path for name, path in others.items() if name.partition("-")[0] != STRANGER}


def open_photograph(path: Path) -> Image.Image:
    """A shipped photograph as a Pillow image, RGB."""
    with Image.open(path) as opened:
        return opened.convert("RGB")


def save_images(images: Tensor, folder: Path) -> list[Path]:
    """Write uint8 images (N, C, H, W) as numbered PNG files into a new folder."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:04d}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        save_png(image, path)
    return paths
