"""Settings that every method has, and those of FLIPAD: the paper's numbers with their sources."""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.core.config import Config, setting
from wherefrom.data.altering.degradations import CHAIN, KINDS
from wherefrom.detectors.classifier import ClassifierConfig
from wherefrom.detectors.deep_sad import DeepSadConfig


@dataclass(frozen=True, kw_only=True)
class AttributionConfig(Config):
    """Settings of every method: the error rates of its answers, and how they are calibrated."""

    calibration_samples: int = setting(
        1000, "own images held out to calibrate p-values", source="App. G.2: 1000", low=20
    )
    false_negative_rate: float = setting(
        0.005,
        "largest share of own images called not made by the model",
        source="App. G.1",
        low=0.0,
        high=1.0,
    )
    false_positive_rate: float = setting(
        0.01,
        "largest share of images like the others called made by the model",
        low=0.0,
        high=1.0,
    )
    sibling_rate: float = setting(
        0.05,
        "largest share of images by a self-made sibling called made by the model",
        source="docs/attribution.md",
        low=0.0,
        high=1.0,
    )
    sibling_samples: int = setting(
        200,
        "images of each kind of self-made sibling that calibrate the sibling rate; 0: no guard",
        low=0,
    )
    confidence: float = setting(
        0.0,
        "probability that the false-negative rate holds for this very calibration; 0: on average",
        low=0.0,
        high=0.9999,
    )


@dataclass(frozen=True, kw_only=True)
class TrainedConfig(AttributionConfig):
    """Settings of the methods that learn from own images against the others."""

    train_samples: int = setting(
        4000,
        "own images, and at most as many others, to train on",
        source="App. G.2: 10000",
        low=50,
    )
    other_calibration_share: float = setting(
        0.2, "share of the other images that is held out to calibrate p_other", low=0.01, high=0.9
    )
    immunise: float = setting(
        0.0,
        "share of the training images, of every class alike, that is blurred, cropped, noised or "
        "compressed first; above 0, JPEG, WebP, scaled and noisy files are calibrated apart",
        source="Table 3: all",
        low=0.0,
        high=1.0,
        images_only=True,
    )
    experts: bool = setting(
        False,
        "with immunise: a detector for each kind of alteration that a file shows, trained on it, "
        "and one for unaltered files, instead of one for all",
        source="Table 3: one per alteration",
    )
    left_out: str = setting(
        "none",
        "with immunise: a kind of alteration that is not trained on, to test on it",
        choices=("none", *KINDS, CHAIN),
    )


@dataclass(frozen=True, kw_only=True)
class FlipadConfig(TrainedConfig):
    """Settings of FLIPAD."""

    mean_samples: int = setting(5000, "samples behind z_bar", source="FLIPAD's code", low=1)
    impostors: float = setting(
        1.0, "impostors per own training image; 0: none, as in the paper", low=0.0, images_only=True
    )
    moved: float = setting(
        0.8, "share of the impostors that is mirrored or moved", low=0.0, high=1.0
    )
    classifier_samples: int = setting(
        16_000,
        "crops of own images, and as many of impostors and of altered last layers, to train the "
        "classifier on; 0: no classifier, as in the paper",
        low=0,
        images_only=True,
    )
    max_side: int = setting(
        32, "activations are max-pooled down to this side", source="App. G.7: 32", low=4
    )
    channels: int = setting(
        0,
        "channels that the detector sees, those that differ most; 0: all",
        source="App. G.7: all, SD 3",
        low=0,
    )
    crop: int = setting(
        0,
        "invert the centre of the activations, this many places wide; 0: all",
        source="App. G.7: all, SD 128",
        low=0,
        images_only=True,
    )
    halo: int = setting(8, "with a crop: places around it that are inverted and thrown away", low=0)
    lasso: LassoConfig = setting(LassoConfig(), "final-layer inversion")
    detector: DeepSadConfig = setting(DeepSadConfig(epochs=10), "Deep SAD")
    classifier: ClassifierConfig = setting(ClassifierConfig(), "classifier on pre-activations")


NUMBERS = FlipadConfig(
    impostors=0.0,
    classifier_samples=0,
    lasso=LassoConfig(iterations=200, chunk=1024),  # a dense layer is small: many rows at once
    detector=DeepSadConfig(epochs=30),
)

PRESETS: dict[str, FlipadConfig] = {
    "default": FlipadConfig(),
    "paper": FlipadConfig(
        train_samples=10_000,
        impostors=0.0,
        classifier_samples=0,
        lasso=LassoConfig(effort="exact", gap=1e-2),
        detector=DeepSadConfig(epochs=50),
    ),
    # 512 px: n_tr, n_val and fnr of App. G.1 and G.3; n_val is what the two rates need here
    "paper-latent-diffusion": FlipadConfig(
        train_samples=2000,
        calibration_samples=100,
        mean_samples=2000,
        false_negative_rate=0.05,
        impostors=0.0,
        classifier_samples=0,
        max_side=128,
        channels=3,
        crop=128,
        halo=16,
        lasso=LassoConfig(lam=1e-5, iterations=1000),
        detector=DeepSadConfig(epochs=100, drop_at=0.25, batch=32),
    ),
    "quick": FlipadConfig(
        train_samples=1000,
        mean_samples=1000,
        classifier_samples=6000,
    ),
    "numbers": NUMBERS,
    "paper-numbers": NUMBERS.with_values(
        {
            "train_samples": 100_000,
            "calibration_samples": 10_000,
            "channels": 100,
            "lasso.iterations": 10_000,
            "detector.epochs": 100,
            "detector.drop_at": 0.25,
            "detector.standardise": "none",
        }
    ),
}
