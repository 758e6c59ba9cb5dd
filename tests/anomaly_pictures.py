"""Small folders of images, and an encoder that costs nothing."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.anomaly.auditing import AuditConfig
from wherefrom.anomaly.calibration.assumption import AssumptionConfig
from wherefrom.anomaly.comparison.generators import ComparisonConfig
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.localisation.heat_maps import LocalisationConfig
from wherefrom.core.rng import stream
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders import make_feature_encoder

SIDE = 12
SMALL = AuditConfig(
    scores=AnomalyConfig(directions=2, restarts=2, steps=4, attack_steps=2),
    comparison=ComparisonConfig(draws=49, neighbours=2),
    assumption=AssumptionConfig(images=5, grades=1, directions=1),
    localisation=LocalisationConfig(segmentation="grid", segments=4),
    false_alarms=0.1,
    heat_maps=2,
)


def tiny_encoder(classes=0):
    """A smooth network at 12 px with 6 features, and a head if it has `classes`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(6, classes) if classes else None
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.GELU(), nn.Conv2d(4, 6, 3, 2, 1), nn.Tanh(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
    made = make_feature_encoder(net, kind="tiny", resolution=SIDE)
    return made if head is None else type(made)(**{**vars(made), "head": head})


def write_images(folder, count, *, noise=0.0):
    """Smooth pictures, with noise if they are to look broken."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rng = stream(i, "picture", Path(folder).name)
        image = F.interpolate(torch.rand(1, 3, 4, 4, generator=rng), SIDE, mode="bicubic")
        image = image + noise * torch.randn(image.shape, generator=rng)
        save_png(to_uint8(image.clamp(0, 1))[0], Path(folder) / f"{i:03d}.png")
    return Path(folder)
