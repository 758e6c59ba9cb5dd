"""KL-WGAN, the owner's generator of rows in FLIPAD's tabular experiments (App. G.6).

Song, Ermon: Bridging the Gap Between f-GANs and Wasserstein GANs, ICML 2020: the KL objective.

Symbols:
    x, y    rows of the data and of the generator, (N, D)
    T       critic, (N, D) -> (N,)
    w       density ratios that the critic implies, w_i = exp T(y_i) / mean_j exp T(y_j)

The critic's loss is  mean (1 - T(x))_+  +  mean w (1 + T(y))_+,  the generator's  -mean w T(y):
hinge losses in which fake rows weigh by their ratio, which is not differentiated.

Deviation: rows are standardised column by column first, by a layer of the generator that puts the
units back, so that it makes rows as they stand in the table (the last layer is that of the network
and the units together: still one linear map).
Deviation: a fixed number of steps instead of 500 epochs, so that a scaled-down run can be stated.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.training.loop import descend


@dataclass(frozen=True, kw_only=True)
class KlWganConfig(Config):
    """Settings of `KlWganTask`."""

    width: int = setting(300, "units of each hidden layer", source="FLIPAD's code: 300", low=2)
    latent: int = setting(64, "latent dimension", low=1)
    steps: int = setting(20_000, "generator steps", source="App. G.6: 500 epochs", low=1)
    critic_steps: int = setting(2, "critic steps per generator step", low=1)
    batch: int = setting(256, "rows per step", low=2)
    learning_rate: float = setting(2e-4, "Adam's step", low=0.0)
    seed: int = setting(0, "seed of initialisation, batches and noise")


class RowGenerator(nn.Module):
    """Latents (N, latent) to rows (N, D): two hidden layers, then one linear map into the units."""

    def __init__(self, columns: int, *, width: int, latent: int) -> None:
        super().__init__()
        self.latent_shape = (latent,)
        self.layers = nn.Sequential(
            nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.last = nn.Linear(width, columns)

    def forward(self, z: Tensor) -> Tensor:
        """The rows."""
        rows: Tensor = self.last(self.layers(z))
        return rows


class KlWganTask:
    """One KL-WGAN in training; `rows` is float (N, D), finite, every column varies."""

    def __init__(self, rows: Tensor, config: KlWganConfig) -> None:
        self.config = config
        self.mean, self.scale = rows.mean(dim=0), rows.std(dim=0)
        if rows.ndim != 2 or not bool(rows.isfinite().all() & self.scale.gt(0).all()):
            raise InputError(
                f"rows of shape {tuple(rows.shape)}, expected finite numbers (N, D) of which no "
                "column is constant"
            )
        self.rows = (rows - self.mean) / self.scale
        columns, width = rows.shape[1], config.width
        self.generator = RowGenerator(columns, width=width, latent=config.latent)
        self.critic = nn.Sequential(
            nn.Linear(columns, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, 1),
        )  # fmt: skip
        for name, network in self.modules().items():
            rng = stream(config.seed, "kl-wgan", name)
            for part in network.modules():
                if isinstance(part, nn.Linear):
                    bound = part.in_features**-0.5
                    nn.init.uniform_(part.weight, -bound, bound, generator=rng)
                    nn.init.zeros_(part.bias)
        with torch.random.fork_rng(devices=[]):  # its start vectors take no generator
            torch.manual_seed(derive_seed(config.seed, "kl-wgan", "spectral norm"))
            for part in self.critic:
                if isinstance(part, nn.Linear):
                    spectral_norm(part)
        rate, betas = config.learning_rate, (0.0, 0.9)
        self._g = torch.optim.Adam(self.generator.parameters(), rate, betas)
        self._d = torch.optim.Adam(self.critic.parameters(), rate, betas)

    def modules(self) -> Mapping[str, nn.Module]:
        """Generator and critic."""
        return {"generator": self.generator, "critic": self.critic}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Their Adam states."""
        return {"generator": self._g, "critic": self._d}

    def step(self, index: int) -> dict[str, float]:
        """The critic's updates, then one of the generator."""
        c = self.config
        rng = stream(c.seed, "kl-wgan", "step", index)
        for _ in range(c.critic_steps):
            chosen = torch.randint(len(self.rows), (c.batch,), generator=rng)
            with torch.no_grad():
                fake = self._draw(rng)
            on_real, on_fake = self.critic(self.rows[chosen])[:, 0], self.critic(fake)[:, 0]
            critic_loss = (
                F.relu(1 - on_real).mean() + (ratios(on_fake) * F.relu(1 + on_fake)).mean()
            )
            descend(self._d, critic_loss)
        on_fake = self.critic(self._draw(rng))[:, 0]
        loss = -(ratios(on_fake) * on_fake).mean()
        descend(self._g, loss)
        return {"critic": critic_loss.item(), "generator": loss.item()}

    def finished(self) -> RowGenerator:
        """The generator in evaluation mode, with the table's units in its last layer."""
        trained = copy.deepcopy(self.generator)
        with torch.no_grad():
            trained.last.weight.mul_(self.scale[:, None])
            trained.last.bias.mul_(self.scale).add_(self.mean)
        return trained.eval()

    def _draw(self, rng: torch.Generator) -> Tensor:
        c = self.config
        rows: Tensor = self.generator(torch.randn(c.batch, c.latent, generator=rng))
        return rows


def ratios(scores: Tensor) -> Tensor:
    """w = exp T / mean exp T, (N,), without gradient."""
    return scores.detach().softmax(dim=0) * len(scores)
