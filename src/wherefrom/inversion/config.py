"""Settings of the invertible generators: the thesis' numbers with their sources, ours with reasons.

Cho: Deep Generative Models and Their Inversions, PhD thesis, Concordia University, 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherefrom.core.config import Config, setting
from wherefrom.inversion.recipes import METHODS, RECIPES, Recipe

IMAGE_GAIN = 2**0.5  # keeps variances through leaky ReLUs, so that images depend on their codes
PENALTY_EVERY = 8  # of images above `CHEAP_SIDE` px, whose second derivatives take time
CHEAP_SIDE = 16


@dataclass(frozen=True, kw_only=True)
class InversionConfig(Config):
    """Settings of `fit`."""

    method: str = setting("dlsgan", "what is trained", choices=METHODS)
    network: str = setting(
        "auto",
        "mlp for vectors, small up to 32 px, skip from 64 px; auto: by the data",
        choices=("auto", "mlp", "small", "skip"),
    )
    critic: str = setting(
        "plain",
        "plain: as in the thesis; projected: critic, encoder and classifier read the maps of a "
        "fixed EfficientNet-Lite0, without R1 and R2 (extra anomaly)",
        choices=("plain", "projected"),
    )
    latent: int = setting(64, "d_z, dimensions of the code", source="thesis: 256 to 1024", low=1)
    width: int = setting(
        0, "channels at full size, hidden units of an mlp; 0: 32, 128", source="128, 512", low=0
    )
    gain: float | None = setting(
        None,
        "factor of the equalised weights; none: sqrt 2 for images, 1 for vectors",
        source="thesis' code: sqrt 2 in 4.3.1, 1 elsewhere",
        low=0.0,
    )
    input_skip: bool = setting(
        False, "show every stage of a small critic the shrunk image; skip always does", source="4.2"
    )
    batch_deviation: bool = setting(
        False, "let the critic see the deviation over its batch", source="4.1.2"
    )
    codebook: bool = setting(False, "give the generator learnt pages for classes", source="3.5.1")
    batch: int = setting(64, "images per step", source="thesis: 8 to 32", low=2)
    steps: int = setting(10_000, "updates of the generator", low=1)
    learning_rate: float = setting(2e-3, "AdamW's step", source="thesis: 1e-4 to 3e-3", low=0.0)
    final_rate: float = setting(
        1.0,
        "share of the learning rate at the end, falling exponentially",
        source="4.3.1: .95^30",
        low=1e-6,
    )
    weight_decay: float = setting(
        0.0, "AdamW's decay of all weights", source="4.2.1: 1e-4", low=0.0
    )
    beta2: float = setting(0.99, "AdamW's second decay; the first is 0", source="4.1.1", low=0.0)
    epsilon: float = setting(1e-7, "AdamW's epsilon", source="Keras", low=0.0)
    ema: float = setting(0.999, "decay of the averaged weights", source="4.1.1", low=0.0, high=1.0)
    adversarial: str = setting(
        "nsgan", "loss of the critic, Eq. 49", choices=("nsgan", "relativistic")
    )
    r1: float | None = setting(
        None,
        "weight of the penalty on real images, no 1/2; none: 0.1, or 1 and 0 for some methods "
        "(inversion/recipes.py)",
        low=0.0,
    )
    r2: float | None = setting(
        None, "weight of the penalty on generated images; none: by method", low=0.0
    )
    penalty_every: int | None = setting(
        None,
        "penalise one in so many images; 1: all, the thesis; none: 1 up to 16 px, then 8",
        low=1,
    )
    penalty: str = setting(
        "gradient",
        "gradient: exact; difference: between an image and itself with noise",
        choices=("gradient", "difference"),
    )
    penalty_noise: float = setting(
        0.05, "deviation of the noise of `difference`, images in [-1, 1]", low=1e-6
    )
    encoder_weight: float = setting(1.0, "weight of the encoder loss", source="4.2.1", low=0.0)
    class_weight: float = setting(1.0, "weight of the class loss", source="4.5.1", low=0.0)
    class_penalty: float = setting(
        0.1, "lambda_cgp, weight of CGPGAN's penalty", source="Fig. 41: 0 to 100", low=0.0
    )
    reconstruction_weight: float = setting(
        1.0, "weight of the reconstruction loss", source="4.4.1", low=0.0
    )
    prior_weight: float = setting(
        1.0, "weight of VAEGAN's prior loss", source="4.4.1: 0, 1, 10", low=0.0
    )
    inverts: bool = setting(
        False, "add the encoder loss of DLSGAN to cagan or cgpgan, so that they encode too"
    )
    trace_start: float = setting(1e-4, "v at the start", source="thesis' code: 1e-4 or 1", low=0.0)
    trace_decay: float = setting(
        0.995, "decay of the averaged v and P(C)", source="4.2.1: .999", low=0.0, high=1.0
    )
    labels: int = setting(1, "d_l, labels per image that classes are found for", low=1)
    classes: int = setting(16, "d_c, classes that are looked for", source="4.5.1", low=2)
    uniform_share: float = setting(
        0.3, "share of the steps with uniform P(C)", source="4.5.1: 30/100", low=0.0, high=1.0
    )
    temperature: float = setting(1.0, "temperature of Gumbel softmax, Elastic InfoGAN", low=1e-3)
    mixed_batches: bool = setting(False, "mix real and generated in every batch", source="3.1.1")
    mixing_share: float = setting(
        0.5, "share of the steps until batches are half and half", source="4.1.2", low=0.0, high=1.0
    )
    latents: str = setting(
        "normal", "distribution of z, variance 1", source="4.5.4", choices=("normal", "uniform")
    )
    precision: str = setting(
        "auto",
        "arithmetic of the networks; auto: bf16 where the device multiplies it",
        choices=("auto", "fp32", "bf16"),
    )
    fused: bool = setting(True, "pass real and generated images through the critic together")
    channels_last: bool = setting(True, "store images and weights with their channels last")
    calibration: str = setting(
        "averaged",
        "v and mean in scores: averaged: of the averaged encoder; traced: the thesis",
        choices=("averaged", "traced"),
    )
    calibration_samples: int = setting(8192, "generated images that `calibration` measures", low=64)

    @property
    def recipe(self) -> Recipe:
        """The row of the method."""
        return RECIPES[self.method]


def gain_of(config: InversionConfig, shape: tuple[int, ...]) -> float:
    """The factor of the equalised weights for data of `shape`."""
    if config.gain is not None:
        return config.gain
    return 1.0 if len(shape) == 1 else IMAGE_GAIN


def penalty_every_of(config: InversionConfig, shape: tuple[int, ...]) -> int:
    """One in how many images is penalised per step, for data of `shape`."""
    if config.penalty_every is not None:
        return config.penalty_every
    return PENALTY_EVERY if len(shape) == 3 and shape[-1] > CHEAP_SIDE else 1


def penalties_of(config: InversionConfig) -> tuple[float, float]:
    """Weights of R1 and R2: as set, or those of the thesis; 0 for the projected critic."""
    usual = (0.0, 0.0) if config.critic == "projected" else config.recipe.penalties
    r1 = usual[0] if config.r1 is None else config.r1
    r2 = usual[1] if config.r2 is None else config.r2
    return r1, r2
