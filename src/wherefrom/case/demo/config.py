"""Settings of the demo: how many images each model is fitted to, and for how long.

They were chosen with images of other seeds than those of the suspects.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.attribution.methods.patches import PatchesConfig
from wherefrom.core.config import Config, setting
from wherefrom.inversion.config import InversionConfig

ATTRIBUTION = PatchesConfig(
    train_samples=3000,
    reference_samples=500,
    calibration_samples=300,
    false_negative_rate=0.02,
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
