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

The score is log (r1 + e) / (r2 + e), or log (r1 + e); e is the error of rounding to 8 bits.

Deviation: distances are squared differences of pixels, AEROBLADE's those of a network's features.
Deviation: AEDR corrects the ratio by the image's homogeneity and cuts at a kernel density estimate;
here the conformal calibration of every method holds, and nothing is corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.protocol import FitMaterial, Method, SavedScorer, Scorer
from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import setting
from wherefrom.core.errors import InputError
from wherefrom.generators.generator import Generator

ROUNDING = (1 / 255) ** 2 / 12  # variance of an error uniform in one 8-bit level


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(AttributionConfig):
    """Settings of the autoencoder's double reconstruction."""

    passes: str = setting(
        "two",
        "two: the ratio of two passes' changes; one: the change of the first",
        source="AEDR: two, AEROBLADE: one",
        choices=("two", "one"),
    )


@dataclass(frozen=True, eq=False)
class AutoencoderScorer(Scorer):
    """The change that the autoencoder makes to an image."""

    generator: Generator
    passes: str

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """log of the ratio, or of the first change, (N,) float64; images (N, C, H, W) in [0, 1]."""
        return in_passes(self._score, images.to(self.generator.device), size=1).cpu()

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors; the model is not among them."""
        return {"passes": self.passes}, {}

    def _score(self, x: Tensor) -> Tensor:
        once = self.generator.reconstruct(x)
        first = _mean_square(x - once) + ROUNDING
        if self.passes == "one":
            return first.log()
        second = _mean_square(once - self.generator.reconstruct(once)) + ROUNDING
        return (first / second).log()


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


def _fit(material: FitMaterial, config: AutoencoderConfig) -> AutoencoderScorer:
    return make_autoencoder(material.generator.to(material.device), config.passes)


def read_autoencoder(saved: SavedScorer) -> AutoencoderScorer:
    """The inverse of `AutoencoderScorer.to_saved`."""
    return make_autoencoder(saved.require_generator(), saved.meta["passes"])


AUTOENCODER = Method(
    name="autoencoder",
    title="AEDR",
    presets={"default": AutoencoderConfig(), "one-pass": AutoencoderConfig(passes="one")},
    fit=_fit,
    read=read_autoencoder,
    needs_generator=lambda config: True,
    needs="encoder",
)
