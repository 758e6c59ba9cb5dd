"""Diffusion models of the runs: loss, training, average of weights, and sampling.

Ho et al.: Denoising Diffusion Probabilistic Models, NeurIPS 2020.  Song et al.: Denoising Diffusion
Implicit Models, ICLR 2021.  Rombach et al.: High-Resolution Image Synthesis with Latent Diffusion
Models, CVPR 2022.

Symbols:
    x        images or latents of a clean batch, (B, C, H, W) float32
    t        time steps, (B,) int64 in [0, T), T = 1000
    abar     the product of (1 - beta) up to t, betas linear from 1e-4 to 0.02 or the model's own
    e        Gaussian noise like x
    v        sqrt(abar) e - sqrt(1 - abar) x

Common random numbers: step k of every subset with the same seed draws the same t, e and flips, and
image i of every subset starts from the same noise, so that these do not add to the differences
between subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed, stream
from wherefrom.credit.diffusion.schedules import DEFAULT, STEPS, Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """Settings of `DiffusionTask`."""

    steps: int = setting(20_000, "optimiser steps", source="App. B: 20,000", low=0)
    batch: int = setting(64, "images per step, at most the subset", source="App. B: 64", low=1)
    learning_rate: float = setting(1e-4, "Adam's step", source="App. B: 1e-4", low=0.0)
    weight_decay: float = setting(
        0.0, "AdamW's weight decay", source="App. B: 1e-6 for LoRA", low=0
    )
    clip: float = setting(1.0, "largest gradient norm", source="the authors' code", low=0.0)
    average: float = setting(
        0.9999, "decay of the average of weights; 0: none", source="DDPM", low=0.0, high=0.999999
    )
    antithetic: bool = setting(True, "pair step t with T - 1 - t", source="the authors' code")
    flip: bool = setting(True, "mirror images at random", source="App. B")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Config):
    """Settings of `sample`."""

    images: int = setting(256, "images per run", source="App. A: 10,240 on CIFAR", low=1)
    steps: int = setting(100, "DDIM steps", source="App. B: 100", low=1, high=STEPS)
    batch: int = setting(64, "images at a time", low=1)
    seed: int = setting(0, "seed of the starting noise, one for all subsets")


class Codec(Protocol):
    """Between images in [0, 1] and the latents that the network denoises."""

    @property
    def identity(self) -> str:
        """Identifies the codec; it changes whenever its results may."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 in [0, 1] -> latents."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> (N, C, H, W) float32 in [0, 1]."""
        ...


@dataclass(frozen=True)
class Pixels:
    """The codec of pixels: latents are images in [-1, 1]."""

    identity: str = "pixels"

    def encode(self, images: Tensor) -> Tensor:
        """[0, 1] -> [-1, 1]."""
        return images * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        """[-1, 1] -> [0, 1], clamped."""
        return (latents / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A denoising network with its `schedule` and its codec.

    `shape`: of one latent.  `classes`: of a network conditioned on classes, else 0.  `prompts`
    (P, L, D): embedded texts of a network conditioned on text; `added`: its further inputs for each
    text, (P, ...).  A condition is the index of a class or a prompt.
    """

    network: nn.Module
    shape: tuple[int, int, int]
    codec: Codec = field(default_factory=Pixels)
    classes: int = 0
    prompts: Tensor | None = None
    schedule: Schedule = DEFAULT
    added: Mapping[str, Tensor] | None = None

    def given(self, x: Tensor, conditions: Tensor) -> dict[str, Any]:
        """The network's inputs besides x and t; `conditions` is int64 (B,)."""
        given: dict[str, Any] = {"class_labels": conditions} if self.classes else {}
        if self.prompts is not None:
            given = {"encoder_hidden_states": self.prompts.to(x.device)[conditions]}
        if self.added is not None:
            each = {name: values.to(x.device)[conditions] for name, values in self.added.items()}
            given["added_cond_kwargs"] = each
        return given

    def output(self, x: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """The network's output, like x: noise, v or the clean image, as it was trained."""
        answer: Tensor = self.network(x, t, **self.given(x, conditions)).sample
        return answer

    def predict(self, x: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """The predicted noise, like x; `conditions` is int64 (B,)."""
        return self.as_noise(self.output(x, t, conditions), x, t)

    def as_noise(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The predicted noise in x, from the network's output; `t` is int64 (B,)."""
        if self.schedule.prediction == "epsilon":
            return output
        abar = self._abar(t)
        if self.schedule.prediction == "v_prediction":
            return abar.sqrt() * output + (1 - abar).sqrt() * x
        return (x - abar.sqrt() * output) / (1 - abar).sqrt()

    def as_image(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The predicted clean image or latent in x, from the network's output."""
        if self.schedule.prediction == "sample":
            return output
        abar = self._abar(t)
        if self.schedule.prediction == "v_prediction":
            return abar.sqrt() * x - (1 - abar).sqrt() * output
        return (x - (1 - abar).sqrt() * output) / abar.sqrt()

    def noised(self, x: Tensor, t: Tensor, e: Tensor) -> Tensor:
        """sqrt(abar_t) x + sqrt(1 - abar_t) e.  The paper, Eq. 1."""
        abar = self._abar(t).to(x.device)
        return abar.sqrt() * x + (1 - abar).sqrt() * e

    def velocity(self, x: Tensor, t: Tensor, e: Tensor) -> Tensor:
        """v = sqrt(abar_t) e - sqrt(1 - abar_t) x of clean x and noise e."""
        abar = self._abar(t).to(x.device)
        return abar.sqrt() * e - (1 - abar).sqrt() * x

    def _abar(self, t: Tensor) -> Tensor:
        abar: Tensor = self.schedule.alpha_bars().to(t.device)[t]
        return abar.view(-1, 1, 1, 1)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @property
    def conditions(self) -> int:
        """How many conditions there are, at least 1."""
        return max(self.classes, 1) if self.prompts is None else len(self.prompts)

    def trained(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [p for p in self.network.parameters() if p.requires_grad]


def simple_losses(model: Diffusion, x: Tensor, t: Tensor, e: Tensor, conditions: Tensor) -> Tensor:
    """The diffusion loss of each latent, the mean of (e - predicted e)^2 over it, (B,).  Eq. 1.

    For a network that predicts v it is (v - predicted v)^2: Salimans and Ho, Section 4.

    Deviation: Eq. 1 sums over the entries; as in every implementation, they are averaged here.
    """
    noised = model.noised(x, t, e)
    output = model.output(noised, t, conditions)
    if model.schedule.prediction == "v_prediction":
        # From x and e themselves: at abar = 0 the noised latent does not contain x.
        wanted = model.velocity(x, t, e)
    else:
        output, wanted = model.as_noise(output, noised, t), e
    return (output - wanted).square().flatten(1).mean(1)


class DiffusionTask:
    """The training of a network on the latents (N, C, H, W) of one subset, for `training.loop.run`.

    The average of weights begins with the weights that training starts from.  `start_weight` is
    their coefficient, in [0, 1], in the average that `finish` returns; it does not measure how far
    training moved the weights.
    """

    def __init__(
        self,
        model: Diffusion,
        latents: Tensor,
        conditions: Tensor,
        config: TrainingConfig,
        *,
        seed: int,
    ) -> None:
        if not len(latents):
            raise InputError("there is no image to train on; an empty subset needs no training")
        self.model, self.latents, self.conditions = model, latents, conditions
        self.config, self.seed, self.start_weight = config, seed, 1.0
        means = [nn.Parameter(p.detach().clone(), requires_grad=False) for p in model.trained()]
        self.average = nn.ParameterList(means if config.average else [])
        self._optimizer = torch.optim.AdamW(
            model.trained(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def modules(self) -> Mapping[str, nn.Module]:
        """The network and its average."""
        return {"network": self.model.network, "average": self.average}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam's state."""
        return {"adam": self._optimizer}

    def finish(self) -> Diffusion:
        """The model, its network now with the average weights where there are some."""
        if len(self.average):
            with torch.no_grad():
                for value, mean in zip(self.model.trained(), self.average, strict=True):
                    value.copy_(mean)
        self.start_weight = start_weight(self.config.steps, self.config.average)
        return self.model

    def step(self, index: int) -> dict[str, float]:
        """One optimiser step."""
        c, device = self.config, self.latents.device
        rng = stream(self.seed, "credit", "step", index)
        batch = min(c.batch, len(self.latents))
        # Drawn as fractions of the subset: subsets of one seed get the same noise and times.
        chosen = (torch.rand(c.batch, generator=rng) * len(self.latents)).long()[:batch]
        t = time_steps(c.batch, rng, antithetic=c.antithetic)[:batch].to(device)
        e = torch.randn(c.batch, *self.model.shape, generator=rng)[:batch].to(device)
        mirrored = (torch.rand(c.batch, generator=rng) < 0.5)[:batch].to(device)
        chosen = chosen.to(device)
        x = self.latents[chosen]
        if c.flip:
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
        self.model.network.train()
        # Dropout takes no generator: the global seed is set, and restored after the block.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.seed, "credit", "dropout", index))
            loss = simple_losses(self.model, x, t, e, self.conditions[chosen]).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if c.clip:
            torch.nn.utils.clip_grad_norm_(self.model.trained(), c.clip)
        self._optimizer.step()
        self._update_average(index)
        return {"loss": loss.item()}

    def _update_average(self, index: int) -> None:
        decay = average_decay(index, self.config.average)
        with torch.no_grad():
            for mean, value in zip(self.average, self.model.trained(), strict=False):
                mean.lerp_(value, 1 - decay)


def average_decay(index: int, largest: float) -> float:
    """The decay at step `index`: min(largest, (1 + index) / (10 + index))."""
    return min(largest, (1 + index) / (10 + index))


def start_weight(steps: int, largest: float) -> float:
    """The coefficient of the starting weights in the average after `steps` steps, in [0, 1].

    prod over k < steps of  min(largest, (1 + k) / (10 + k))
    """
    index = torch.arange(steps, dtype=torch.float64)
    return float(((1 + index) / (10 + index)).clamp(max=largest).prod())


def time_steps(batch: int, rng: torch.Generator, *, antithetic: bool) -> Tensor:
    """Time steps (batch,) int64; with `antithetic` the second half is T - 1 - the first."""
    if not antithetic:
        return torch.randint(STEPS, (batch,), generator=rng)
    half = torch.randint(STEPS, ((batch + 1) // 2,), generator=rng)
    return torch.cat([half, STEPS - 1 - half])[:batch]


@torch.no_grad()
def sample(
    model: Diffusion,
    config: SamplingConfig,
    *,
    conditions: Tensor | None = None,
    keep: Callable[[int, Tensor], None] | None = None,
    track: Track = quiet,
) -> Tensor:
    """Images (N, C, H, W) float32 in [0, 1] on the CPU, by DDIM without noise.

    Image i starts from `stream(config.seed, "credit", "sample", i)`.  `conditions` (N,) defaults to
    all classes in turn.  `keep(t, x)` is called with the latents of every step of each batch.
    """
    scheduler = model.schedule.sampler(pixels=isinstance(model.codec, Pixels))
    device = model.device
    if conditions is None:
        conditions = torch.arange(config.images) % model.conditions
    model.network.eval()
    parts = []
    batches = torch.split(torch.arange(config.images), config.batch)
    for batch in track(batches, "sampling images", total=len(batches)):
        noise = [
            torch.randn(model.shape, generator=stream(config.seed, "credit", "sample", int(i)))
            for i in batch
        ]
        x = torch.stack(noise).to(device)
        given = conditions[batch].to(device)
        scheduler.set_timesteps(config.steps)
        for t in scheduler.timesteps:
            times = torch.full((len(x),), int(t), device=device)
            if keep is not None:
                keep(int(t), x)
            x = scheduler.step(model.output(x, times, given), t, x, eta=0.0).prev_sample
        parts.append(model.codec.decode(x).cpu())
    return torch.cat(parts)


def make_unet(settings: Mapping[str, Any], *, seed: int) -> nn.Module:
    """A diffusers UNet2DModel of these settings with the random weights of `seed`."""
    unet2d = need("diffusers", "a diffusion model", extra="diffusers").UNet2DModel
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "credit", "initial weights"))
            unet: nn.Module = unet2d.from_config(dict(settings))
    except (TypeError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"no UNet2DModel can be made of the model's settings: {first}") from error
    return unet
