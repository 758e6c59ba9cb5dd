"""What inversion promises, simulated: a model whose scores of an image are as good as drawn anew.

The world: encoder and classifier read an image through sines of a very high frequency.  So every
image has codes of its own, no score can see damage, and own and new images are exchangeable.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from promise import Promise, Values
from torch import Tensor, nn

from wherefrom.core.rng import stream
from wherefrom.data.batches import ImageBatch
from wherefrom.data.decoding.images import Carrier
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.networks.assembly import Networks
from wherefrom.inversion.networks.heads import Headed, Heads
from wherefrom.inversion.outliers.calibrated import (
    OutlierConfig,
    OwnImages,
    calibrate_outliers,
    find_outliers,
)
from wherefrom.inversion.outliers.subtlety import measure_subtlety

SHAPE = (1, 8, 8)
LATENT, CLASSES, FEATURES = 4, 3, 16
RATE = 0.05


class Scrambled(nn.Module):
    """(N, 1, 8, 8) -> (N, 16), numbers that any change of the image draws again."""

    def __init__(self, name: str) -> None:
        super().__init__()
        w = torch.randn(64, FEATURES, generator=stream(0, "scrambled", name), dtype=torch.float64)
        self.w = nn.Parameter(1e5 * w)

    def forward(self, x: Tensor) -> Tensor:
        """In float64, as the sines are of large numbers."""
        return torch.sin(x.flatten(1).double() @ self.w).float()


@functools.cache
def blind() -> FittedInverter:
    """A model with three scores, the likelihood, its two-sided form and the energy, all blind."""
    parts = {}
    for name, heads in {
        "encoder": Heads(code=LATENT),
        "classifier": Heads(logits=(1, CLASSES)),
    }.items():
        parts[name] = Headed(Scrambled(name), FEATURES, heads)
        weight = parts[name].head.weight
        weight.data.normal_(generator=stream(0, "head", name))
    networks = Networks(**parts)
    networks.eval().requires_grad_(False)
    ones = torch.ones(LATENT)
    prior = torch.full((1, CLASSES), 1 / CLASSES)
    config = InversionConfig(method="cgpgan", latent=LATENT)
    directions = torch.zeros(LATENT, 0, 0)
    return FittedInverter(config, SHAPE, networks, ones, ones, 0 * ones, prior, directions, {})


def pictures(rng: np.random.Generator, count: int) -> tuple[Tensor, list[str]]:
    """uint8 (count, 1, 8, 8) and a name of the content of each."""
    images = rng.integers(64, 192, (count, *SHAPE), dtype=np.uint8)
    return torch.from_numpy(images), [image.tobytes().hex() for image in images]


def batch_of(images: Tensor, keys: list[str]) -> ImageBatch:
    """As if read from files."""
    count = len(images)
    return ImageBatch(
        images=images,
        paths=tuple(Path(f"{row}.png") for row in range(count)),
        digests=tuple(keys),
        notes=((),) * count,
        skipped=(),
        duplicates=0,
        carriers=(Carrier("PNG", True, None, (8, 8)),) * count,
    )


def normal_images_flagged(replays: int, seed: int) -> Values:
    """Share of 40 normal images that are flagged, by a score that 78 own images chose."""
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(replays):
        images, keys = pictures(rng, 78)  # 40 of them calibrate
        calibration = calibrate_outliers(blind(), images, keys=keys)
        report = find_outliers(blind(), calibration, batch_of(*pictures(rng, 40)), rate=RATE)
        shares.append(np.mean([row.flagged for row in report.rows]))
    return np.array(shares)


def normal_images_discovered(replays: int, seed: int) -> Values:
    """Whether anything is called a discovery in a folder of 40 normal images."""
    rng = np.random.default_rng(seed)
    alarms = []
    config = OutlierConfig(score="nll")
    for _ in range(replays):
        images, keys = pictures(rng, 120)
        calibration = calibrate_outliers(blind(), images, keys=keys, config=config)
        report = find_outliers(blind(), calibration, batch_of(*pictures(rng, 40)), rate=0.2)
        alarms.append(float(any(row.discovery for row in report.rows)))
    return np.array(alarms)


def auroc_of_the_blind(replays: int, seed: int) -> Values:
    """Mean AUROC on the subtlety curve, of a score chosen although none sees anything."""
    rng = np.random.default_rng(seed)
    aurocs = []
    for _ in range(replays):
        images, keys = pictures(rng, 16)
        calibration = calibrate_outliers(blind(), images, keys=keys)
        own = OwnImages(images, keys)
        curve = measure_subtlety(blind(), calibration, own, rate=0.2, intensities=(1.0,))
        aurocs.append(np.mean([point.auroc for point in curve.points]))
    return np.array(aurocs)


PROMISES = (
    Promise(
        "normal image flagged as an outlier",
        "a normal image is flagged with probability at most the false-alarm rate, although own "
        "images chose the score",
        "it is exchangeable with the own images that the model was not trained on",
        "inversion/outliers/calibrated.py, calibration/conformal.py",
        RATE,
        normal_images_flagged,
        suite=5,
    ),
    Promise(
        "normal image called a discovery",
        "of the discoveries in a folder at most the rate are normal images on average",
        "the folder holds normal images only, exchangeable with the own ones",
        "inversion/outliers/calibrated.py, calibration/discovery.py",
        0.2,
        normal_images_discovered,
        suite=5,
    ),
    Promise(
        "subtlety curve of a score that sees nothing",
        "the curve's AUROC is 0.5 on average where the chosen score sees no damage",
        "the images of the curve did not choose the score",
        "inversion/outliers/calibrated.py: own_parts, inversion/outliers/subtlety.py",
        0.5,
        auroc_of_the_blind,
        suite=24,
    ),
)
