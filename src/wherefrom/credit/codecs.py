"""Latent diffusion: a frozen autoencoder between images and latents, from a diffusers folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.passes import in_passes
from wherefrom.core.store import digest_tensors
from wherefrom.credit.extras import need_diffusers
from wherefrom.encoders.diffusers_vae import affine_of, read_config

KINDS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
PASS_ROWS = 16


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A frozen VAE or VQ autoencoder; latents are in the scale that its config states."""

    module: Any
    identity: str
    shift: Tensor
    scale: Tensor
    grey: bool = False  # images have one channel, the mean of the autoencoder's three

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3 or 1, H, W) in [0, 1] -> latents (N, c, h, w), the mode of the posterior."""
        return in_passes(self._encode, images.expand(-1, 3, -1, -1), size=PASS_ROWS)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, c, h, w) -> images (N, 3 or 1, H, W) in [0, 1]."""
        images = in_passes(self._decode, latents, size=PASS_ROWS)
        return images.mean(1, keepdim=True) if self.grey else images

    def to(self, device: torch.device | str) -> Autoencoder:
        """The same on another device."""
        moved = self.module.to(device), self.shift.to(device), self.scale.to(device)
        return replace(self, module=moved[0], shift=moved[1], scale=moved[2])

    def _encode(self, images: Tensor) -> Tensor:
        found = self.module.encode(images * 2 - 1)
        z: Tensor = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        return (z - self.shift) * self.scale

    def _decode(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.module.decode(latents / self.scale + self.shift).sample
        return (pixels / 2 + 0.5).clamp(0, 1)


def load_autoencoder_codec(folder: Path, *, grey: bool = False) -> Autoencoder:
    """The autoencoder in a diffusers folder, safetensors only.  `InputError` for any fault."""
    config = read_config(folder)
    kind = str(config["_class_name"])
    if kind not in KINDS:
        raise InputError(f"{folder} holds a {kind!r}, expected one of {', '.join(KINDS)}")
    diffusers = need_diffusers("latent diffusion")
    try:
        module = getattr(diffusers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # diffusers raises anything on a damaged folder
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} cannot be loaded as {kind}: {first}") from error
    module = module.float().eval().requires_grad_(False)
    shift, scale = (part.view(1, -1, 1, 1) for part in affine_of(module.config))
    identity = digest_tensors(module.state_dict()) + (" grey" if grey else "")
    return Autoencoder(module, identity, shift, scale, grey)
