"""Settings of FLIPAD: the paper's numbers with their sources, ours with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.attribution.lasso import LassoConfig
from wherefrom.core.config import Config, setting
from wherefrom.detectors.classifier import ClassifierConfig
from wherefrom.detectors.deep_sad import DeepSadConfig


@dataclass(frozen=True, kw_only=True)
class FlipadConfig(Config):
    """Settings of `fit`."""

    train_samples: int = setting(
        4000,
        "own images, and at most as many others, to train on",
        source="App. G.2: 10000",
        low=50,
    )
    calibration_samples: int = setting(
        1000, "own images held out to calibrate p-values", source="App. G.2: 1000", low=20
    )
    mean_samples: int = setting(5000, "samples behind z_bar", source="FLIPAD's code", low=1)
    false_negative_rate: float = setting(
        0.005, "own images called not ours, at most", source="App. G.1", low=0.0, high=1.0
    )
    false_positive_rate: float = setting(
        0.01, "images like the others called ours, at most", low=0.0, high=1.0
    )
    other_calibration_share: float = setting(
        0.2, "share of the others held out to calibrate p_other", low=0.01, high=0.9
    )
    impostors: float = setting(
        1.0, "self-made negatives per own training image; 0: the paper", low=0.0
    )
    moved: float = setting(
        0.8, "share of the impostors that is mirrored or moved", low=0.0, high=1.0
    )
    classifier_samples: int = setting(
        16_000,
        "own crops, and as many impostors and other layers' ones, for the classifier; 0: the paper",
        low=0,
    )
    max_side: int = setting(
        32, "activations are max-pooled down to this side", source="App. G.7: 32", low=4
    )
    channels: int = setting(
        0, "channels kept, those that differ most; 0: all", source="App. G.7: all, SD 3", low=0
    )
    lasso: LassoConfig = setting(LassoConfig(), "final-layer inversion")
    detector: DeepSadConfig = setting(DeepSadConfig(epochs=10), "Deep SAD")
    classifier: ClassifierConfig = setting(ClassifierConfig(), "classifier on pre-activations")


PRESETS: dict[str, FlipadConfig] = {
    "default": FlipadConfig(),
    "paper": FlipadConfig(
        train_samples=10_000,
        impostors=0.0,
        classifier_samples=0,
        lasso=LassoConfig(effort="exact", gap=1e-2),
        detector=DeepSadConfig(epochs=50),
    ),
    "quick": FlipadConfig(
        train_samples=1000,
        mean_samples=1000,
        classifier_samples=6000,
    ),
}
