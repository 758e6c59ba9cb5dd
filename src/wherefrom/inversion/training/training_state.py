"""The state of a training run: networks, optimisers, running averages, and shared operations.

Cho: PhD thesis, Concordia University, 2025.  The steps themselves are in `steps_latent` and
`steps_classes`, line by line.

Deviation: the averaged weights follow faster in the first steps, by min(ema, (1 + t) / (10 + t)).
Deviation: encoder and classifier are averaged too in methods where the thesis averages G only.
Deviation: with `penalty_every` above 1 every step penalises one in so many images of its batch, in
turn.  The lazy regularisation of StyleGAN2 (Karras et al. 2020, App. B) takes the whole batch in
every k-th step, k times as strong; under Adam with a first decay of 0 that pulls less, by up to
sqrt k where the penalty is the larger part of the gradient, since the optimiser divides a step by
the root of the mean squared gradient.  StyleGAN2's factor k / (k + 1) on rate and decays does not
change that; a test measures it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from wherefrom.core.compute.passes import halves
from wherefrom.core.rng import stream
from wherefrom.inversion import equations as eq
from wherefrom.inversion.config import InversionConfig, penalty_every_of
from wherefrom.inversion.equations import draw_classes, draw_latents
from wherefrom.inversion.networks.assembly import Classes, Networks
from wherefrom.inversion.networks.heads import ConditionalGenerator, Headed, HeadOutputs
from wherefrom.inversion.networks.layers import depends_on_batch
from wherefrom.inversion.recipes import Head

N = TypeVar("N", bound=nn.Module)
Penalised = tuple[Tensor, Tensor | None, float]  # images, their classes, weight


@dataclass(frozen=True)
class StepInput:
    """What a step is given: images x in [-1, 1], classes or None, and where the run stands."""

    x: Tensor  # (B, *shape)
    c: Tensor | None  # (B, L, K), one-hot
    index: int
    share: float  # of the run that lies behind
    rng: torch.Generator  # every draw of the step, in the order of its lines


class Traces(nn.Module):
    """v (d_z,), P(C) (L, K), and what Elastic InfoGAN learns of P(C)."""

    v: Tensor
    prior: Tensor

    def __init__(self, config: InversionConfig, classes: Classes) -> None:
        super().__init__()
        self.register_buffer("v", torch.full((config.latent,), config.trace_start))
        uniform = torch.full(classes.shape, 1 / classes.classes)
        self.register_buffer("prior", uniform)
        self.log_prior = nn.Parameter(uniform.clone()) if config.recipe.learns_prior else None

    @torch.no_grad()
    def begin(self, v: Tensor, prior: Tensor) -> None:
        """Go on from those of another run."""
        self.v.copy_(v)
        self.prior.copy_(prior)
        if self.log_prior is not None:
            self.log_prior.copy_(prior.clamp_min(1e-8).log())


class TrainingState:
    """Everything that a step changes."""

    def __init__(
        self,
        networks: Networks,
        config: InversionConfig,
        classes: Classes,
        directions: Tensor,
        device: torch.device,
    ) -> None:
        self.config, self.classes, self.device = config, classes, device
        self.networks = networks.to(device)
        if config.channels_last:
            self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averages = copy.deepcopy(self.networks).requires_grad_(False)
        critic = networks.critic
        self.sees_batch = critic is not None and depends_on_batch(critic)
        self.traces = Traces(config, classes).to(device)
        self.directions = directions.to(device)
        self.half = halves(config.precision, device)
        self.optimisers = self._make_optimisers()

    @property
    def generator(self) -> ConditionalGenerator:
        """G."""
        return _there(self.networks.generator)

    @property
    def critic(self) -> Headed:
        """D*."""
        return _there(self.networks.critic)

    @property
    def encoder(self) -> Headed:
        """E where it is no head of D*."""
        return _there(self.networks.encoder)

    @property
    def classifier(self) -> Headed:
        """Q where it is no head of D*."""
        return _there(self.networks.classifier)

    @property
    def inverts(self) -> bool:
        """Whether D* has a code head."""
        return self.networks.critic is not None and self.networks.critic.heads.code > 0

    @property
    def traces_codes(self) -> bool:
        """Whether v is averaged in training; what stays 1 otherwise has a prior of N(0, 1)."""
        return self.inverts or self.config.recipe.traces_codes

    def latents(self, count: int, given: StepInput) -> Tensor:
        """z <- sample(Z)."""
        z = draw_latents(count, self.config.latent, self.config.latents, given.rng)
        return z.to(self.device)

    def sample_classes(self, count: int, given: StepInput) -> Tensor:
        """c_f <- sample(C), (count, L, K)."""
        return draw_classes(count, self.traces.prior, given.rng).to(self.device)

    def scale(self) -> Tensor:
        """s of the dynamic scale, Eq. 32; 1 for methods without it."""
        dynamic = self.config.recipe.dynamic_scale or self.config.inverts
        return eq.latent_scale(self.traces.v) if dynamic else torch.ones_like(self.traces.v)

    def generate(self, scaled: Tensor, c: Tensor | None = None) -> Tensor:
        """G(z o s, c), float32."""
        with self._arithmetic():
            images: Tensor = self.generator(scaled, c)
        return images.float()

    def read(self, x: Tensor, network: Headed | None = None) -> HeadOutputs:
        """D*(x), or another headed network."""
        with self._arithmetic():
            outputs: HeadOutputs = (network or self.critic)(self._laid_out(x))
        return outputs

    def read_pair(self, real: Tensor, fake: Tensor) -> tuple[HeadOutputs, HeadOutputs]:
        """D* of both: `fused` in one pass, but in two where D* sees its batch."""
        if not self.config.fused or self.sees_batch:
            return self.read(real), self.read(fake)
        joint = self.read(torch.cat([real, fake]))
        count = len(real)
        return HeadOutputs(*(o[:count] for o in joint)), HeadOutputs(*(o[count:] for o in joint))

    def active(self, outputs: HeadOutputs, c: Tensor | None) -> Tensor:
        """a . c, (N, L); the only score where D* has one."""
        if outputs.scores.shape[1:] == (1, 1) or c is None:
            return outputs.scores[:, :, 0]
        return eq.active_scores(outputs.scores, c)

    def critic_loss(self, a_r: Tensor, a_f: Tensor) -> Tensor:
        """A_d."""
        if self.config.adversarial == "relativistic":
            return eq.relativistic_critic_loss(a_r, a_f)
        return eq.nsgan_critic_loss(a_r, a_f)

    def generator_loss(self, a_f: Tensor, given: StepInput) -> Tensor:
        """A_g; relativistic: against D*(x) as it is now."""
        if self.config.adversarial == "relativistic":
            with torch.no_grad():
                a_r = self.active(self.read(given.x), given.c)
            return eq.relativistic_generator_loss(a_r, a_f)
        return eq.nsgan_generator_loss(a_f)

    def encoder_loss(self, z: Tensor, fakes: HeadOutputs, s: Tensor) -> Tensor:
        """L_enc of the method; 0 where D* has no code head."""
        if not self.inverts:
            return z.new_zeros(())
        if Head.LOG_VARIANCE in self.config.recipe.critic:
            return eq.infogan_encoder_loss(z, fakes.code, fakes.log_variance)
        return eq.encoder_loss(z, fakes.code, s)

    def penalty(self, given: StepInput, *items: Penalised) -> Tensor:
        """The gradient penalties of a step, weighted, a scalar.  Eq. 51.

        Their mean runs over one in `penalty_every` images, other ones in every step; over all of
        them where D* sees its batch, which must then be whole.
        """
        total = given.x.new_zeros(())
        every = 1 if self.sees_batch else penalty_every_of(self.config, tuple(given.x.shape[1:]))
        for x, c, weight in items:
            if weight:
                rows = penalised_rows(len(x), every, given.index).to(x.device)
                part = None if c is None else c[rows]
                total = total + weight * self._penalty_of(x[rows], part, given)
        return total

    def minimise(self, loss: Tensor, *names: str) -> None:
        """One optimiser step of the networks `names` down `loss`, and of no others."""
        weights = [w for name in names for w in self._weights(name)]
        slopes = torch.autograd.grad(loss, weights, allow_unused=True)
        for name in names:
            count = len(self._weights(name))
            self.descend(name, slopes[:count])
            slopes = slopes[count:]

    def descend(self, name: str, slopes: Sequence[Tensor | None]) -> None:
        """One optimiser step of the network `name` along given gradients; None: not in the loss."""
        for weight, slope in zip(self._weights(name), slopes, strict=True):
            weight.grad = None if slope is None else _laid_out_as(weight, slope)
        self.optimisers[name].step()
        self.optimisers[name].zero_grad(set_to_none=True)

    def _weights(self, name: str) -> list[nn.Parameter]:
        return [w for group in self.optimisers[name].param_groups for w in group["params"]]

    @torch.no_grad()
    def trace(self, *squares: Tensor) -> None:
        """v <- update(v, concat(v_1, v_2)); nothing where no codes of G(z) are seen."""
        if self.traces_codes:
            rows = torch.cat([v.detach() for v in squares])
            self.traces.v.copy_(eq.updated(self.traces.v, rows, self.config.trace_decay))

    @torch.no_grad()
    def trace_prior(self, q: Tensor) -> None:
        """P(C) <- update(P(C), c'_r)."""
        prior = eq.updated(self.traces.prior, q.detach(), self.config.trace_decay)
        self.traces.prior.copy_(prior)

    @torch.no_grad()
    def average(self, index: int) -> None:
        """Move the averaged weights towards the present ones."""
        decay = min(self.config.ema, (1 + index) / (10 + index))
        torch._foreach_lerp_(
            list(self.averages.parameters()), list(self.networks.parameters()), 1 - decay
        )
        for mean, buffer in zip(self.averages.buffers(), self.networks.buffers(), strict=True):
            mean.copy_(buffer)

    def set_rate(self, share: float) -> None:
        """The learning rate after a share of the run."""
        rate = self.config.learning_rate * self.config.final_rate**share
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    def _penalty_of(self, x: Tensor, c: Tensor | None, given: StepInput) -> Tensor:
        x = self._laid_out(x.detach())
        if self.config.penalty == "difference":
            noise = self.config.penalty_noise
            drawn = torch.randn(x.shape, generator=given.rng).to(x.device)
            still, moved = self.read(x), self.read(x + noise * drawn)
            return eq.difference_penalty(self.active(still, c), self.active(moved, c), noise)
        x = x.requires_grad_(True)
        # Second derivatives are for float32.
        with torch.autocast(self.device.type, enabled=False):
            return eq.gradient_penalty(self.active(self.critic(x), c), x)

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _laid_out(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and self.config.channels_last:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def _make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        parts: dict[str, Iterable[nn.Parameter]] = {
            name: module.parameters() for name, module in self.networks.named_children()
        }
        if self.traces.log_prior is not None:
            parts["prior"] = [self.traces.log_prior]
        c = self.config
        return {
            name: torch.optim.AdamW(
                weights,
                c.learning_rate,
                betas=(0.0, c.beta2),
                eps=c.epsilon,
                weight_decay=c.weight_decay,
                fused=self.device.type in ("cpu", "cuda"),
            )
            for name, weights in parts.items()
        }


def penalised_rows(count: int, every: int, index: int) -> Tensor:
    """Rows of a batch of `count` whose penalty is due in step `index`: one in `every`, int64.

    They are count / every, at least one, and walk through the batch from step to step.
    """
    size = max(1, count // every)
    return (index * size + torch.arange(size)) % count


def make_directions(config: InversionConfig, classes: Classes, *, seed: int) -> Tensor:
    """AEDLSGAN's fixed w ~ N(0, 1), (d_z, L, K); of a binary label (-w, w).  Section 4.2.3."""
    if not config.recipe.fixed_directions:
        return torch.zeros(config.latent, 0, 0)
    rng = stream(seed, "inversion", "directions")
    if classes.classes == 2:
        w = torch.randn(config.latent, classes.labels, generator=rng)
        return torch.stack([-w, w], dim=2)
    return torch.randn(config.latent, *classes.shape, generator=rng)


def _laid_out_as(weight: Tensor, slope: Tensor) -> Tensor:
    """The fused optimiser walks memory in order, so a gradient must lie as its weight does."""
    if slope.stride() == weight.stride():
        return slope
    return torch.empty_like(weight).copy_(slope)


def _there(network: N | None) -> N:
    if network is None:
        raise TypeError("this method has no such network")
    return network
