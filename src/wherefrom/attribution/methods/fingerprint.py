"""SM-F: the mean noise residual of a model as its fingerprint.

Laszkiewicz et al., ICML 2024, App. E and G.7, after Marra et al.: Do GANs Leave Artificial
Fingerprints?, MIPR 2019.  The residual is that of camera forensics (PRNU): Mihcak, Kozintsev,
Ramchandran: Spatially Adaptive Statistical Modeling of Wavelet Image Coefficients and Its
Application to Denoising, ICASSP 1999; Lukas, Fridrich, Goljan: Digital Camera Identification from
Sensor Pattern Noise, IEEE TIFS 2006.  Settings of the residual are those of FLIPAD's code.

Symbols:
    w   noise residual of an image, (H, W), in units of 8-bit levels
    f   fingerprint: the mean of w over own images, (H, W)

Deviation: the score is the inner product with the residual of x; App. E's text says with x itself,
the official code takes the residual.
Deviation: an image too small for the wavelet's levels has fewer of them; beyond that a level would
hold nothing but the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.protocol import FitMaterial, Method, SavedScorer, Scorer
from wherefrom.core.config import setting
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.data.images.writing import to_float

Array = NDArray[np.float64]

WAVELET = "db4"
WINDOWS = (3, 5, 7, 9)  # Lukas et al., App. A
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
CHUNK = 64
# A residual of smaller norm, in 8-bit levels, is the wavelets' rounding in float64 (about 1e-12).
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class FingerprintConfig(AttributionConfig):
    """Settings of SM-F."""

    train_samples: int = setting(
        4000, "own images behind the fingerprint", source="App. G.2: 10000", low=2
    )
    levels: int = setting(4, "levels of the wavelet transform", source="FLIPAD's code", low=1)
    sigma: float = setting(
        5.0, "standard deviation of the noise, 8-bit levels", source="FLIPAD's code", low=0.0
    )
    clean: bool = setting(
        True,
        "take row means, column means and peaks of the spectrum out of residuals",
        source="FLIPAD's code",
    )


@dataclass(frozen=True, eq=False)
class FingerprintScorer(Scorer):
    """Minus the correlation of an image's residual with the fingerprint, in [-1, 1]."""

    fingerprint: Tensor  # f, (H, W) float64: zero mean, unit norm
    config: FingerprintConfig

    def score(self, images: Tensor) -> Tensor:
        """s(x) = -<f, w>, both standardised, (N,) float64; images (N, C, H, W) in [0, 1]."""
        parts = [
            -(standardise(noise_residual(part, self.config)) * self.fingerprint).sum(dim=(1, 2))
            for part in torch.split(images, CHUNK)
        ]
        return torch.cat(parts)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        return {}, {"fingerprint": self.fingerprint}


def fit_fingerprint(material: FitMaterial, config: FingerprintConfig) -> FingerprintScorer:
    """The mean residual of own images, standardised."""
    _wavelets()  # before the long sampling
    own = material.own(config.train_samples)
    total = torch.zeros(own.shape[-2:], dtype=torch.float64)
    parts = torch.split(own, CHUNK)
    for part in material.track(parts, "measuring noise residuals", total=len(parts)):
        total += noise_residual(to_float(part), config).sum(dim=0)
    fingerprint = standardise(total[None] / len(own))[0]
    if not bool(fingerprint.any()):
        raise InputError("the model's images hold no noise, so they have no fingerprint")
    return FingerprintScorer(fingerprint, config)


def standardise(x: Tensor) -> Tensor:
    """Each (H, W) of x with zero mean and unit norm; zero where it is constant up to rounding."""
    centred = x - x.mean(dim=(-2, -1), keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True)
    return torch.where(norm > ROUNDING, centred / norm.clamp_min(ROUNDING), 0.0)


def noise_residual(images: Tensor, config: FingerprintConfig) -> Tensor:
    """w of images (N, C, H, W) in [0, 1]: (N, H, W) float64, on the CPU, in 8-bit levels.

    What a wavelet denoiser takes away, channel by channel, then the grey of the channels.
    """
    pixels = images.cpu().double().numpy() * 255
    residual = _mix(_wavelet_noise(pixels, config))
    if config.clean:
        residual = _flat_spectrum(_without_lines(residual))
    return torch.from_numpy(residual)


def wiener_noise(x: Array, variance: float | Array) -> Array:
    """The noise part of x (..., H, W): x * v / (v + s2), v the noise's variance.

    s2 is the variance of the signal: the smallest, over windows of 3 to 9, of the mean of x^2 in
    the window minus v, and at least 0.  Borders are mirrored.
    """
    from scipy.ndimage import uniform_filter

    square = x**2
    local = [uniform_filter(square, size=(1,) * (x.ndim - 2) + (n, n)) for n in WINDOWS]
    signal = np.maximum(np.minimum.reduce(local) - variance, 0)
    tiny = np.finfo(np.float64).tiny
    noise: Array = x * variance / np.maximum(variance + signal, tiny)
    return noise


def _wavelet_noise(pixels: Array, config: FingerprintConfig) -> Array:
    """Noise of every detail coefficient, put together again without the coarse picture."""
    pywt = _wavelets()
    height, width = pixels.shape[-2:]
    levels = min(config.levels, max(1, pywt.dwt_max_level(min(height, width), WAVELET)))
    coarse, *details = pywt.wavedec2(pixels, WAVELET, level=levels, axes=(-2, -1))
    noise = [tuple(wiener_noise(band, config.sigma**2) for band in bands) for bands in details]
    noise_image: Array = pywt.waverec2([np.zeros_like(coarse), *noise], WAVELET, axes=(-2, -1))
    return noise_image[..., :height, :width]  # an odd side comes back one pixel longer


def _mix(channels: Array) -> Array:
    """(N, C, H, W) -> (N, H, W): the luma of three channels, else the mean."""
    count = channels.shape[1]
    weights = np.array(LUMA) if count == len(LUMA) else np.full(count, 1 / count)
    grey: Array = np.einsum("nchw,c->nhw", channels, weights)
    return grey


def _without_lines(residual: Array) -> Array:
    """No row and no column has a mean, in each of the four lattices of every second pixel."""
    cleaned = residual.copy()
    for top in (0, 1):
        for side in (0, 1):
            lattice = cleaned[:, top::2, side::2]
            lattice -= lattice.mean(axis=1, keepdims=True)
            lattice -= lattice.mean(axis=2, keepdims=True)
    return cleaned


def _flat_spectrum(residual: Array) -> Array:
    """Without the peaks of the spectrum: each magnitude keeps what is noise of it."""
    spectrum = np.fft.fft2(residual)
    height, width = residual.shape[-2:]
    magnitude = np.abs(spectrum) / np.sqrt(height * width)
    variance = residual.var(axis=(-2, -1), keepdims=True, ddof=1)
    noise = wiener_noise(magnitude, variance)
    share = noise / np.maximum(magnitude, np.finfo(np.float64).tiny)
    flat: Array = np.fft.ifft2(spectrum * share).real
    return flat


def _wavelets() -> ModuleType:
    module: ModuleType = need(
        "pywt", "the method fingerprint", extra="attribution", called="PyWavelets"
    )
    return module


def read_fingerprint(saved: SavedScorer) -> FingerprintScorer:
    """The inverse of `FingerprintScorer.to_saved`."""
    return FingerprintScorer(saved.tensors["fingerprint"], saved.config)


FINGERPRINT = Method(
    name="fingerprint",
    title="SM-F",
    presets={
        "default": FingerprintConfig(),
        "paper": FingerprintConfig(train_samples=10_000),
        "quick": FingerprintConfig(train_samples=1000),
    },
    fit=fit_fingerprint,
    read=read_fingerprint,
)
