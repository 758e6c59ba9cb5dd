"""The frozen autoencoder of latent diffusion, from a diffusers folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.components.autoencoders import ImageAutoencoder, LatentScale, load_autoencoder
from wherefrom.core.compute.passes import in_passes
from wherefrom.core.saving.store import digest_tensors

PASS_ROWS = 16


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A frozen VAE or VQ autoencoder; its latents have the scale of its config."""

    autoencoder: ImageAutoencoder
    identity: str
    grey: bool = False  # images have one channel, the mean of the autoencoder's three

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3 or 1, H, W) in [0, 1] -> latents (N, c, h, w), the mode of the posterior."""
        return in_passes(self.autoencoder.encode, images.expand(-1, 3, -1, -1), size=PASS_ROWS)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, c, h, w) -> images (N, 3 or 1, H, W) in [0, 1]."""
        images = in_passes(self.autoencoder.decode, latents, size=PASS_ROWS)
        return images.mean(1, keepdim=True) if self.grey else images

    def to(self, device: torch.device | str) -> Autoencoder:
        """This autoencoder, its weights moved to another device."""
        self.autoencoder.vae.to(device)
        self.autoencoder.scale.to(device)
        return self


def load_autoencoder_codec(path: Path, *, grey: bool = False) -> Autoencoder:
    """The autoencoder at `path`, as `components.autoencoders.load_autoencoder` reads it.

    `InputError` for any fault.
    """
    autoencoder = load_autoencoder(path, purpose="latent diffusion")
    autoencoder.vae.requires_grad_(False)
    state = dict(autoencoder.vae.state_dict())
    if isinstance(autoencoder.scale, LatentScale):  # for scales that earlier digests left out
        state |= {f"scale.{name}": value for name, value in autoencoder.scale.state_dict().items()}
    return Autoencoder(autoencoder, digest_tensors(state) + (" grey" if grey else ""), grey)
