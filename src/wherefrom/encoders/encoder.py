"""A frozen image encoder: one embedding per image, independent of the batch.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025: an image is resized to 256 x 256 (Section 5.1), encoded by a VAE and flattened (Eq. 1, Eq. 8).

Symbols:
    x    images, (N, 3, H, W) float32 in [0, 1]
    z    latents, (N, c, h, w) float32, in the scale that the model's own config states
    D    c * h * w, the length of an embedding

Deviation: the paper does not say how the VAE's posterior becomes one vector, and its authors' code
draws a sample; here it is the posterior's mode, so that an image has one embedding and not many.
Deviation: the config's shift and scale are applied; under the cosine only the shift matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.compute.precision import full_precision
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.encoders.identity import RESOLUTION, EncoderIdentity, identify

# Images per forward pass.  On a CPU one image at a time is as quick as several.
CPU_CHUNK, DEVICE_CHUNK = 1, 16


@dataclass(frozen=True, eq=False)
class Encoder:
    """A loaded encoder.  `module` maps images (N, 3, 256, 256) in [0, 1] to latents."""

    identity: EncoderIdentity
    module: nn.Module
    latent_shape: tuple[int, int, int]  # (c, h, w)

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        c, h, w = self.latent_shape
        return c * h * w

    def embed(self, images: Tensor, *, track: Track = quiet) -> Tensor:
        """Embeddings (N, D) float32 of images (N, 3, H, W) float in [0, 1], channels first."""
        return self.latents(images, track=track).flatten(1)

    @torch.no_grad()
    def latents(self, images: Tensor, *, track: Track = quiet) -> Tensor:
        """Latents z (N, c, h, w) float32 of images (N, 3, H, W) float in [0, 1], on their device.

        They are computed where the module is.  `InputError` for other shapes, dtypes or values.
        """
        _check(images)
        there = images.to(self.device)
        size = CPU_CHUNK if there.device.type == "cpu" else DEVICE_CHUNK
        latents = in_passes(self._encode, there, size=size, track=track, label="encoding images")
        return latents.to(images.device)

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        parts = chain(self.module.parameters(), self.module.buffers())
        return next((part.device for part in parts), torch.device("cpu"))

    def _encode(self, images: Tensor) -> Tensor:
        z: Tensor = self.module(prepare(images))
        return z.float()

    def to(self, device: torch.device | str) -> Encoder:
        """This encoder with its module moved to another device."""
        return replace(self, module=self.module.to(device))


def make_encoder(module: nn.Module, *, kind: str, config: Mapping[str, Any]) -> Encoder:
    """An `Encoder` of a module that maps images (N, 3, 256, 256) in [0, 1] to latents (N, c, h, w).

    The module is frozen, set to evaluation and to float32.  `config` (JSON values) and the weights
    become its identity.  `InputError` if a grey image does not give finite latents.
    """
    module = module.float().eval().requires_grad_(False)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with torch.no_grad(), full_precision(device):
        z = module(torch.full((1, 3, RESOLUTION, RESOLUTION), 0.5, device=device))
    if not isinstance(z, Tensor) or z.ndim != 4:
        raise InputError(
            f"the encoder {kind} gives no latents of shape (N, c, h, w); check its config"
        )
    if not bool(torch.isfinite(z).all()):
        raise InputError(
            f"the encoder {kind} gives NaN or infinite latents; its weights are damaged"
        )
    c, h, w = z.shape[1:]
    return Encoder(identify(kind, config, module.state_dict()), module, (c, h, w))


def prepare(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] squashed to (N, 3, 256, 256) float32.

    Images of that size are unchanged, so `embed(prepare(x))` equals `embed(x)`: photographs of many
    sizes can be shrunk as they are read.
    """
    x = images.float().contiguous()
    if x.shape[-2:] == (RESOLUTION, RESOLUTION):
        return x
    # One at a time: the size of the batch may change which kernel is used.
    size = (RESOLUTION, RESOLUTION)
    rows = [F.interpolate(row, size, mode="bilinear", antialias=True) for row in torch.split(x, 1)]
    return torch.cat(rows).clamp(0, 1)  # white may come out one rounding above 1


def check_shape(images: Tensor) -> None:
    """An `InputError` unless `images` are floating point (N, 3, H, W)."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise InputError(
            f"images of shape {tuple(images.shape)}, expected (N, 3, H, W); repeat a grey channel "
            "three times"
        )
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}, expected float32 in [0, 1]; divide by 255")


def _check(images: Tensor) -> None:
    check_shape(images)
    if len(images) == 0:
        return
    low, high = (float(value) for value in torch.aminmax(images))
    if not (low >= 0 and high <= 1):
        raise InputError(f"images hold values from {low:g} to {high:g}, expected [0, 1]")
