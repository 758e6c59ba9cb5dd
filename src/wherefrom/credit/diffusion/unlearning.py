"""Two methods that unlearn images without training on the remaining ones; the paper, Table 9.

Gradient ascent (Graves et al., AAAI 2021): steps that increase the loss on the removed images.
Influence unlearning (Izzo et al., AISTATS 2021): one Newton step to the optimum without them.

Deviation: the inverse Hessian is that of the diagonal of the empirical Fisher matrix plus a share
of its mean; the paper does not say which approximation it used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.config import Config, setting
from wherefrom.core.rng import stream
from wherefrom.credit.diffusion.model import Diffusion, simple_losses, time_steps


@dataclass(frozen=True, kw_only=True)
class UnlearningConfig(Config):
    """Settings of `unlearn`."""

    steps: int = setting(100, "steps of gradient ascent", low=0)
    batch: int = setting(64, "images per step", low=1)
    learning_rate: float = setting(1e-5, "step of gradient ascent", low=0.0)
    draws: int = setting(4, "time steps per image, for the gradients of influence", low=1)
    damping: float = setting(1.0, "added to the Fisher diagonal, times its mean", low=1e-6)


def unlearn(
    model: Diffusion,
    latents: Tensor,
    conditions: Tensor,
    gone: Tensor,
    config: UnlearningConfig,
    *,
    kind: str,
    seed: int,
) -> Diffusion:
    """Unlearn the images where `gone`, bool (N,), is true; the model is changed in place."""
    if not bool(gone.any()):
        return model
    if kind == "gradient-ascent":
        _ascend(model, latents[gone], conditions[gone], config, seed)
    else:
        _newton(model, latents, conditions, gone, config, seed)
    return model


def _ascend(
    model: Diffusion, latents: Tensor, conditions: Tensor, config: UnlearningConfig, seed: int
) -> None:
    optimizer = torch.optim.SGD(model.trained(), lr=config.learning_rate)
    model.network.train()
    for index in range(config.steps):
        rng = stream(seed, "credit", "ascent", index)
        chosen = torch.randint(len(latents), (config.batch,), generator=rng).to(latents.device)
        t = time_steps(config.batch, rng, antithetic=True).to(latents.device)
        e = torch.randn(config.batch, *model.shape, generator=rng).to(latents.device)
        loss = -simple_losses(model, latents[chosen], t, e, conditions[chosen]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _newton(
    model: Diffusion,
    latents: Tensor,
    conditions: Tensor,
    gone: Tensor,
    config: UnlearningConfig,
    seed: int,
) -> None:
    """theta + (1 / N) (F + damping mean F)^-1 sum of the gradients of the removed images."""
    model.network.eval()
    trained = model.trained()
    removed = [torch.zeros_like(p) for p in trained]
    fisher = [torch.zeros_like(p) for p in trained]
    for index in range(len(latents)):
        rng = stream(seed, "credit", "influence", index)
        t = time_steps(config.draws, rng, antithetic=True).to(latents.device)
        e = torch.randn(config.draws, *model.shape, generator=rng).to(latents.device)
        x = latents[index].expand(config.draws, -1, -1, -1)
        given = conditions[index].expand(config.draws)
        loss = simple_losses(model, x, t, e, given).mean()
        gradients = torch.autograd.grad(loss, trained)
        for total, square, g in zip(removed, fisher, gradients, strict=True):
            square.add_(g.square() / len(latents))
            if bool(gone[index]):
                total.add_(g / len(latents))
    count = sum(p.numel() for p in trained)
    mean = sum(float(square.sum()) for square in fisher) / count
    with torch.no_grad():
        for p, total, square in zip(trained, removed, fisher, strict=True):
            p.add_(total / (square + config.damping * mean))
