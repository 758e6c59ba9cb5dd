"""A frozen image encoder and its identity: one embedding per image, independent of the batch.

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

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.compute.passes import full_precision, in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import digest_bytes, digest_tensors

RESOLUTION = 256  # the side at which every encoder sees an image
RESIZE = "squash, bilinear, antialias"
DTYPE = "float32"


@dataclasses.dataclass(frozen=True)
class EncoderIdentity:
    """Everything an embedding depends on; two encoders are the same if all fields are equal."""

    kind: str  # class of the model, as in its config.json
    config: str  # digest of the settings
    weights: str  # SHA-256 over names, shapes, dtypes and values of the weights that encode
    resolution: int = RESOLUTION
    resize: str = RESIZE
    dtype: str = DTYPE

    @property
    def digest(self) -> str:
        """One digest of the whole identity, as `sha256:<hex>`."""
        return digest_bytes(json.dumps(self.to_dict(), sort_keys=True).encode())

    def require_same(self, other: EncoderIdentity, *, what: str = "these embeddings") -> None:
        """An `InputError` that names what differs if `other` is not this encoder.

        `self` made `what`; `other` is the one at hand.
        """
        mine, given = self.to_dict(), other.to_dict()
        differing = [
            f"{name} {_short(given[name])} instead of {_short(mine[name])}"
            for name in mine
            if mine[name] != given[name]
        ]
        if differing:
            raise InputError(
                f"another encoder was given than the one that made {what}: "
                f"{', '.join(differing)}; use that encoder, or build anew with this one"
            )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; `InputError` for missing, unknown or wrong values."""
        fields = {
            field.name: int if field.name == "resolution" else str
            for field in dataclasses.fields(cls)
        }
        if not isinstance(values, Mapping) or values.keys() != fields.keys():
            raise InputError(
                f"an encoder identity holds {', '.join(fields)}, but this one is "
                f"{_short(values)}; build it anew"
            )
        for name, wanted in fields.items():
            if type(values[name]) is not wanted:
                raise InputError(
                    f"the encoder identity's {name} is {_short(values[name])}, but it must be of "
                    f"type {wanted.__name__}; build it anew"
                )
        return cls(**values)


def identify(
    kind: str, config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> EncoderIdentity:
    """The identity of a model with these settings (JSON values) and weights.

    Settings whose name starts with `_` are notes (a library's version, a path): they do not count.
    """
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    text = json.dumps(settings, sort_keys=True)
    return EncoderIdentity(kind, digest_bytes(text.encode()), digest_tensors(weights))


def _short(value: Any) -> str:
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[: len("sha256:") + 12] + "..."
    return repr(value)[:80]


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
