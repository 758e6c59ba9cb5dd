"""AEDR: how much an image changes in a pass through the model's own autoencoder.

For a model with an encoder (a latent diffusion model's VAE).  What came out of the decoder is near
to what the decoder can make, so that a second pass changes it hardly less than the first; any other
image is moved a lot by the first pass, and little by the second.

Wang et al.: AEDR: Training-Free AI-Generated Image Attribution via Autoencoder
Double-Reconstruction, AAAI 2026; and for one pass Ricker, Lukovnikov, Fischer: AEROBLADE, CVPR
2024.  Symbols:

    x       image, D values in [0, 1]
    A       decode(encode(x)), mean of the latent distribution
    r1, r2  || x - A(x) ||^2 / D  and  || A(x) - A(A(x)) ||^2 / D
    e       the error of rounding to 8 bits
    s       log (r1 + e) / (r2 + e), or for one pass log (r1 + e)
    t       texture: log of e and the mean squared difference of a pixel from the 3x3 around it

Smooth places are moved little, whoever made the image, and few textured places outweigh them in r1
and r2.  With the correction, s is the mean over all places of that log, of r1 and r2 within the 3x3
around each, and the score is (s - mu(t)) / sigma(t): mu and log sigma are straight lines through
own images that neither train nor calibrate, and t stays within the range of these.

Deviation: distances are squared differences of pixels, AEROBLADE's those of a network's features.
Deviation: AEDR divides the ratio by the image's homogeneity, from its matrix of co-occurring grey
levels; here every place counts alike, and own images of like texture say what a large ratio is.
Deviation: AEDR cuts at a kernel density estimate; here the conformal calibration of every method
holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.protocol import (
    FitMaterial,
    Method,
    SavedScorer,
    Scorer,
    as_values,
    sample_seed,
)
from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import setting
from wherefrom.core.errors import InputError
from wherefrom.generators.generator import Generator

ROUNDING = (1 / 255) ** 2 / 12  # variance of an error uniform in one 8-bit level
MIN_SPREAD = 1e-3  # of s among own images of one texture


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(AttributionConfig):
    """Settings of the autoencoder's double reconstruction."""

    passes: str = setting(
        "two",
        "two: the ratio of two passes' changes; one: the change of the first",
        source="AEDR: two, AEROBLADE: one",
        choices=("two", "one"),
    )
    texture_samples: int = setting(
        200, "own images behind the correction by texture; 0: no correction", low=0
    )


@dataclass(frozen=True)
class TextureCorrection:
    """What s own images have by their texture t, within `low` and `high`."""

    mean: float
    mean_slope: float
    log_spread: float
    log_spread_slope: float
    low: float
    high: float

    @classmethod
    def of(cls, s: Tensor, t: Tensor) -> Self:
        """Lines of least squares through own images, (N,) float64 each."""
        low, high = float(t.min()), float(t.max())
        mean, slope = _line(t, s)
        residual = (s - mean - slope * t).abs()
        return cls(mean, slope, *_line(t, (residual + MIN_SPREAD).log()), low, high)

    def corrected(self, s: Tensor, t: Tensor) -> Tensor:
        """(s - mu(t)) / sigma(t), (N,) float64."""
        t = t.clamp(self.low, self.high)
        spread = (self.log_spread + self.log_spread_slope * t).exp()
        return (s - self.mean - self.mean_slope * t) / spread


def _line(t: Tensor, y: Tensor) -> tuple[float, float]:
    """Height at 0 and slope of the line of least squares; flat where t does not vary."""
    centred = t - t.mean()
    power = float(centred.square().sum())
    slope = float((centred * y).sum()) / power if power > 0 else 0.0
    return float(y.mean()) - slope * float(t.mean()), slope


def texture(images: Tensor) -> Tensor:
    """t of images (N, C, H, W) in [0, 1] of any size, (N,) float64."""
    return (_mean_square(images - _around(images)) + ROUNDING).log()


def _around(values: Tensor) -> Tensor:
    """The mean of the 3x3 around each place, less at the edges, (N, C, H, W)."""
    return F.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)


@dataclass(frozen=True, eq=False)
class AutoencoderScorer(Scorer):
    """The change that the autoencoder makes to an image."""

    generator: Generator
    passes: str
    correction: TextureCorrection | None = None

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """s, corrected where there is a correction, (N,) float64; images (N, C, H, W) in [0, 1]."""
        if self.correction is None:
            return self._in_passes(images, _mean_error)
        s = self._in_passes(images, _error_by_place)
        return self.correction.corrected(s, texture(images).cpu())

    def corrected_by(self, own: Tensor) -> AutoencoderScorer:
        """This scorer with the correction from own images (N, C, H, W) in [0, 1]."""
        s = self._in_passes(own, _error_by_place)
        correction = TextureCorrection.of(s, texture(own))
        return AutoencoderScorer(self.generator, self.passes, correction)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors; the model is not among them."""
        correction = None if self.correction is None else asdict(self.correction)
        return {"passes": self.passes, "correction": correction}, {}

    @torch.no_grad()
    def _in_passes(self, images: Tensor, error: Callable[[Tensor], Tensor]) -> Tensor:
        """s of images (N, C, H, W) in [0, 1] by errors (N, ...) of differences, (N,) float64."""

        def s(x: Tensor) -> Tensor:
            once = self.generator.reconstruct(x)
            ratio = error(x - once) + ROUNDING
            if self.passes == "two":
                ratio = ratio / (error(once - self.generator.reconstruct(once)) + ROUNDING)
            return ratio.log().flatten(1).mean(dim=1)

        return in_passes(s, images.to(self.generator.device), size=1).cpu()


def _mean_error(difference: Tensor) -> Tensor:
    return _mean_square(difference)[:, None]


def _error_by_place(difference: Tensor) -> Tensor:
    return _around(difference.double().square().mean(dim=1, keepdim=True))


def _mean_square(difference: Tensor) -> Tensor:
    return difference.double().square().flatten(1).mean(dim=1)


def make_autoencoder(generator: Generator, passes: str) -> AutoencoderScorer:
    """The scorer of a generator; an `InputError` if it has no encoder."""
    if not generator.has_encoder:
        raise InputError(
            "this model has no encoder: the method needs a diffusers VAE folder, or a module with "
            "a method reconstruct(images) that encodes and decodes; take another method"
        )
    return AutoencoderScorer(generator, passes)


def fit_autoencoder(material: FitMaterial, config: AutoencoderConfig) -> AutoencoderScorer:
    """The scorer with its correction by texture."""
    scorer = make_autoencoder(material.generator.to(material.device), config.passes)
    if not config.texture_samples:
        return scorer
    own = material.reference(config.texture_samples, sample_seed(material.seed, "texture"))
    return scorer.corrected_by(as_values(material.altered(own, "texture")))


def read_autoencoder(saved: SavedScorer) -> AutoencoderScorer:
    """The inverse of `AutoencoderScorer.to_saved`."""
    scorer = make_autoencoder(saved.require_generator(), saved.meta["passes"])
    correction = saved.meta.get("correction")
    if correction is None:
        return scorer
    return AutoencoderScorer(scorer.generator, scorer.passes, TextureCorrection(**correction))


AUTOENCODER = Method(
    name="autoencoder",
    title="AEDR",
    presets={"default": AutoencoderConfig(), "one-pass": AutoencoderConfig(passes="one")},
    fit=fit_autoencoder,
    read=read_autoencoder,
    needs_generator=lambda config: True,
    needs="encoder",
)
