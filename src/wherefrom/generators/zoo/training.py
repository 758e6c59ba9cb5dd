"""Trains the zoo's four GANs: each objective as in FLIPAD, App. G.2, and its sources.

DCGAN (Radford et al. 2015), WGAN-GP (Gulrajani et al. 2017), LSGAN (Mao et al. 2017),
EBGAN (Zhao et al. 2016).

Deviation: DCGAN's sigmoid is part of its loss (binary cross-entropy on logits): the same function.
Deviation: training lasts a number of steps, not of epochs, so that scaled-down runs can be stated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.config import Config, setting
from wherefrom.core.rng import derive_seed, stream
from wherefrom.generators.zoo.networks import (
    ARCHITECTURES,
    initialise,
    make_discriminator,
    make_generator,
)
from wherefrom.training.loop import descend


@dataclass(frozen=True, kw_only=True)
class ZooTrainingConfig(Config):
    """Settings of `GanTask`."""

    architecture: str = setting("dcgan", "which GAN", source="App. G.2", choices=ARCHITECTURES)
    size: int = setting(64, "image side, 32, 64 or 128 pixels", source="App. G.2: 64")
    channels: int = setting(3, "image channels, 3 or 1", source="App. G.2: 3", low=1, high=3)
    width: int = setting(64, "channels entering the last layer", source="App. G.2: 64", low=4)
    latent: int = setting(100, "latent dimension", source="App. G.2: 100", low=1)
    steps: int = setting(80_000, "discriminator steps", source="50 epochs of CelebA", low=1)
    batch: int = setting(128, "images per step", source="App. G.2: 128", low=2)
    learning_rate: float = setting(2e-4, "Adam's step", source="App. G.2", low=0.0)
    generator_every: int = setting(
        0, "train the generator every n-th step; 0: as the paper (DCGAN 1, others 5)", low=0
    )
    gradient_penalty: float = setting(10.0, "WGAN-GP's lambda", source="App. G.2", low=0.0)
    pull_away: float = setting(0.1, "EBGAN's pull-away weight", source="App. G.2", low=0.0)
    margin: float = setting(1.0, "EBGAN's margin", source="not in the paper", low=0.0)
    precision: str = setting("fp32", "arithmetic of the networks", choices=("fp32", "bf16"))
    seed: int = setting(0, "seed of initialisation, batches and noise")

    @property
    def every(self) -> int:
        """The interval in force between two generator updates."""
        return self.generator_every or (1 if self.architecture == "dcgan" else 5)

    def new_generator(self) -> nn.Module:
        """The untrained generator of these settings."""
        shape = {"size": self.size, "channels": self.channels, "width": self.width}
        return make_generator(self.architecture, latent=self.latent, **shape)


class GanTask:
    """One GAN in training; `images` is uint8 (N, C, S, S)."""

    def __init__(
        self, images: Tensor, config: ZooTrainingConfig, device: torch.device | str = "cpu"
    ) -> None:
        c = config
        self.config, self.images, self.device = config, images, torch.device(device)
        self.generator = c.new_generator()
        self.critic = make_discriminator(
            c.architecture, size=c.size, channels=c.channels, width=c.width
        )
        initialise(self.generator, stream(c.seed, "zoo", "generator"))
        initialise(self.critic, stream(c.seed, "zoo", "critic"))
        self.generator.to(self.device)
        self.critic.to(self.device)
        betas = (0.0, 0.9) if c.architecture == "wgan-gp" else (0.5, 0.999)
        self._g = torch.optim.Adam(self.generator.parameters(), c.learning_rate, betas)
        self._d = torch.optim.Adam(self.critic.parameters(), c.learning_rate, betas)

    def modules(self) -> dict[str, nn.Module]:
        """Generator and critic."""
        return {"generator": self.generator, "critic": self.critic}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Their Adam states."""
        return {"generator": self._g, "critic": self._d}

    def step(self, index: int) -> dict[str, float]:
        """One critic update and, every n-th step, one generator update."""
        c = self.config
        rng = stream(c.seed, "zoo", "step", index)
        chosen = torch.randint(len(self.images), (c.batch,), generator=rng)
        real = self.images[chosen].to(self.device).float().div(127.5).sub(1.0)
        z = torch.randn(c.batch, c.latent, generator=rng).to(self.device)
        mix = torch.rand(c.batch, 1, 1, 1, generator=rng).to(self.device)
        # Dropout takes no generator argument: its seed is set in a scope that restores the old one.
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(c.seed, "zoo", "dropout", index))
            return self._update(index, real, z, mix)

    def _update(self, index: int, real: Tensor, z: Tensor, mix: Tensor) -> dict[str, float]:
        update_generator = index % self.config.every == 0
        self.generator.train()
        self.critic.train()
        with self._precision():
            with torch.set_grad_enabled(update_generator):
                fake = self.generator(z)
            critic_loss = self._critic_loss(real, fake.detach(), mix)
        descend(self._d, critic_loss)
        logged = {"critic": critic_loss.item()}
        if update_generator:
            with self._precision():
                generator_loss = self._generator_loss(fake)
            descend(self._g, generator_loss)
            logged["generator"] = generator_loss.item()
        return logged

    def _precision(self) -> torch.autocast:
        enabled = self.config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _critic_loss(self, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        kind = self.config.architecture
        if kind == "ebgan":
            margin = self.config.margin
            return self._energy(real)[0] + F.relu(margin - self._energy(fake)[0])
        on_real, on_fake = self.critic(real).float(), self.critic(fake).float()
        if kind == "dcgan":
            return _soft_bce(on_real, 0.9) + _soft_bce(on_fake, 0.1)
        if kind == "lsgan":
            squares: Tensor = (on_real - 1).square().mean() + on_fake.square().mean()
            return 0.5 * squares
        penalty = self._gradient_penalty(torch.lerp(real, fake.float(), mix))
        distance: Tensor = on_fake.mean() - on_real.mean()
        return distance + self.config.gradient_penalty * penalty

    def _generator_loss(self, fake: Tensor) -> Tensor:
        kind = self.config.architecture
        if kind == "ebgan":
            energy, code = self._energy(fake)
            return energy + self.config.pull_away * pull_away(code.float())
        on_fake: Tensor = self.critic(fake).float()
        if kind == "dcgan":
            return _soft_bce(on_fake, 0.9)
        if kind == "lsgan":
            return 0.5 * (on_fake - 1).square().mean()
        return -on_fake.mean()

    def _energy(self, x: Tensor) -> tuple[Tensor, Tensor]:
        recovered, code = self.critic(x)
        return F.mse_loss(recovered.float(), x.float()), code

    def _gradient_penalty(self, x: Tensor) -> Tensor:
        x = x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.critic(x).float().sum(), x, create_graph=True)
        norms: Tensor = gradient.float().flatten(1).norm(dim=1)
        return (norms - 1).square().mean()


def _soft_bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def pull_away(code: Tensor) -> Tensor:
    """Mean squared cosine between the codes (N, D) of different images.  EBGAN, Eq. 4."""
    unit = F.normalize(code, dim=1)
    n = len(code)
    total: Tensor = ((unit @ unit.T).square().sum() - n) / (n * (n - 1))
    return total
