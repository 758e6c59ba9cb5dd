"""Settings of the demo, and the package's images: no image of clothes is used twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.attribution.methods.patches import PatchesConfig
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track
from wherefrom.data.images.writing import save_png
from wherefrom.inversion.config import InversionConfig

ATTRIBUTION = PatchesConfig(
    train_samples=3000, reference_samples=500, calibration_samples=300, false_negative_rate=0.02
)
# An autoencoder distinguishes clothes from other images after seconds of training, a GAN does not.
INVERSION = InversionConfig(
    method="autoencoder", latent=12, width=8, steps=600, ema=0.97, calibration_samples=512
)
ANOMALY = AnomalyConfig(directions=2, restarts=1, steps=5, attack_steps=4)


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Config):
    """Settings of `make_demo`."""

    attribution: PatchesConfig = setting(ATTRIBUTION, "the attributor of my model")
    other_clothes: int = setting(900, "real clothes that it is fitted to as others", low=100)
    edits_false_alarms: float = setting(
        0.05, "pictures without an origin in the index that are given one", low=0.01, high=0.5
    )
    anomaly: AnomalyConfig = setting(ANOMALY, "the scores of naturalness")
    anomaly_side: int = setting(128, "side in px at which naturalness is measured", low=32)
    real_clothes: int = setting(25, "clothes among the real images of its calibration", low=8)
    anomaly_false_alarms: float = setting(0.05, "real images that are flagged", low=0.01, high=0.5)
    inversion: InversionConfig = setting(INVERSION, "the inverter of clothes")
    inverter_side: int = setting(16, "side in px of the images that it is trained on", low=8)
    inverter_clothes: int = setting(1000, "clothes that it is trained on", low=64)
    outlier_clothes: int = setting(220, "clothes that calibrate its outliers", low=20)
    outlier_false_alarms: float = setting(0.05, "clothes that are flagged", low=0.01, high=0.5)
    contributed: int = setting(24, "images of each contributor", low=4)
    compared: int = setting(100, "clothes that the study's models are compared with", low=20)
    credit_runs: int = setting(24, "models that the study trains", low=8)
    credit_steps: int = setting(40, "steps of each training", low=1)

    def clothes_needed(self) -> dict[str, int]:
        """How many of the shipped clothes serve what, in the order in which they are taken."""
        return {
            "others": self.other_clothes,
            "real": self.real_clothes,
            "inverter": self.inverter_clothes,
            "outliers": self.outlier_clothes,
            "clothes-1": self.contributed,
            "clothes-2": self.contributed,
            "compared": self.compared,
            "suspects": 1,
        }


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
