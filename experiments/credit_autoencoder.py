"""The autoencoder whose latents the credit experiments diffuse: small, trained here, then frozen.

It never sees a contributor's image: it is trained on images of nobody's, and stands for the public
autoencoder under a latent diffusion model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import scratch_beside
from wherefrom.training.loop import Checkpoints, run

STEPS, BATCH, RATE = 1500, 32, 2e-3
PULL = 1e-3  # weight of the posterior's divergence from a normal law, per number
SETTINGS = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [16, 32, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
}


class AutoencoderTask:
    """A `training.loop.Task` on images uint8 (N, 1, S, S), shown in three equal channels."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.images, self.seed = images, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "credit autoencoder"))
            self.module: Any = AutoencoderKL(**SETTINGS, sample_size=images.shape[-1])
        self._optimizer = torch.optim.Adam(self.module.parameters(), lr=RATE)

    def modules(self) -> Mapping[str, nn.Module]:
        """The autoencoder."""
        return {"autoencoder": self.module}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam."""
        return {"adam": self._optimizer}

    def step(self, index: int) -> dict[str, float]:
        """One step on images drawn with replacement; the rate falls to zero as a cosine."""
        rng = stream(self.seed, "credit autoencoder", index)
        chosen = torch.randint(len(self.images), (BATCH,), generator=rng)
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * (1 + torch.cos(torch.tensor(torch.pi * index / STEPS)).item()) / 2
        x = shown(self.images[chosen])
        law = self.module.encode(x).latent_dist
        z = law.mean + law.std * torch.randn(law.mean.shape, generator=rng)
        missed = (self.module.decode(z).sample - x).square().mean()
        pull = (law.mean.square() + law.var - 1 - law.logvar).mean() / 2
        self._optimizer.zero_grad(set_to_none=True)
        (missed + PULL * pull).backward()
        self._optimizer.step()
        return {"missed": missed.item(), "pull": pull.item()}


def shown(images: Tensor) -> Tensor:
    """uint8 (N, 1, S, S) -> float32 (N, 3, S, S) in [-1, 1]."""
    return (images.float() / 127.5 - 1).expand(-1, 3, -1, -1)


def install(home: Path, images: Tensor, seed: int = 0) -> None:
    """Train the autoencoder of the study folder `home` if it is not there."""
    place = home / "autoencoder"
    if place.exists():
        return
    task = AutoencoderTask(images, seed)
    settings = {"images": len(images), "steps": STEPS, "batch": BATCH, "seed": seed}
    saved = Checkpoints(path=home / "autoencoder.checkpoint", every=250, identity=settings)
    run(task, STEPS, label="autoencoder", checkpoints=saved)
    with torch.no_grad():
        latents = torch.cat(
            [task.module.encode(shown(part)).latent_dist.mode() for part in images.split(500)]
        )
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    task.module.register_to_config(latents_mean=mean.tolist(), latents_std=deviation.tolist())
    with scratch_beside(place) as scratch:
        task.module.save_pretrained(scratch)
