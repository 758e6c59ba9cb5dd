"""Projected gradients of images: the rows that every gradient baseline is computed from.

Park et al.: TRAK: Attributing Model Behavior at Scale, ICML 2023.  Zheng et al.: Intriguing
Properties of Data Attribution on Diffusion Models, ICLR 2024 (D-TRAK).  Georgiev et al.: The
Journey, Not the Destination: How Data Guides Diffusion Models, 2023 (Journey-TRAK).

Symbols:
    phi    P^T (gradient of a loss over all trained weights), float32 (N, k)
    P      (d, k), independent signs over sqrt(k), so that E[phi . phi'] = g . g'
    K      time steps per image; gradients are averaged over them before they are projected

P is never held whole: each parameter is cut into blocks of rows, and each block's signs come from a
random stream of its own.  So rows do not depend on what was computed before, or on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.credit.diffusion.model import Diffusion, Pixels
from wherefrom.credit.diffusion.schedules import STEPS

LOSSES = ("simple", "square")
BLOCK = 4096  # rows of P at a time
TIMES_AT_ONCE = 16  # of one image: all K of a batch would not fit with a network of real size


@dataclass(frozen=True, kw_only=True)
class GradientConfig(Config):
    """Settings of `image_gradients`."""

    dimension: int = setting(4096, "k, length of a row", source="App. C: 4096", low=1)
    steps: int = setting(100, "K, time steps per image", source="App. C: 100", low=1, high=STEPS)
    batch: int = setting(8, "images at a time", low=1)
    seed: int = setting(0, "seed of the projection and of the noise")


@dataclass(frozen=True, eq=False)
class NoisyInputs:
    """Inputs of the network at which gradients are taken, and the noise that it should predict.

    `x` and `e`: (N, K, C, H, W); `t`: int64 (N, K); `conditions`: int64 (N,).
    """

    x: Tensor
    t: Tensor
    e: Tensor
    conditions: Tensor


def noise_images(
    model: Diffusion, latents: Tensor, conditions: Tensor, config: GradientConfig, *, first: int = 0
) -> NoisyInputs:
    """K evenly spaced times for each image, with noise of its own.

    The noise of image i is `stream(seed, "credit", "gradient", first + i)`.
    """
    t = torch.arange(config.steps) * STEPS // config.steps
    noise = [
        torch.randn(
            config.steps,
            *model.shape,
            generator=stream(config.seed, "credit", "gradient", first + i),
        )
        for i in range(len(latents))
    ]
    e = torch.stack(noise).to(latents.device)
    times = t.to(latents.device).expand(len(latents), -1)
    x = torch.stack(
        [
            model.noised(image.expand(config.steps, -1, -1, -1), step, each)
            for image, step, each in zip(latents, times, e, strict=True)
        ]
    )
    return NoisyInputs(x, times, e, conditions)


@torch.no_grad()
def noise_journey(
    model: Diffusion, trail: list[tuple[int, Tensor]], conditions: Tensor, *, seed: int
) -> NoisyInputs:
    """Inputs of Journey-TRAK: the image estimated at each step of sampling, with fresh noise.

    Georgiev et al., 2023.  With the latents x_t that sampling went through, (t, (N, C, H, W)) each,

        x0 = (x_t - sqrt(1 - abar_t) predicted e) / sqrt(abar_t)

    is noised again with fresh e at the same t, and e is to be predicted: the loss of time t alone,
    as in Eq. 17.  On pixels x0 is cut off at -1 and 1, as sampling does.  The noise of image i at
    step k is `stream(seed, "credit", "journey", i, k)`.

    Deviation: Eq. 17 as printed puts x_t where L_Simple wants a clean image; the authors' code
    gives the network x_t and asks for noise that is not in it.
    """
    rows, noises = [], []
    for step, (t, latents) in enumerate(trail):
        times = torch.full((len(latents),), t, device=latents.device)
        estimate = model.as_image(model.output(latents, times, conditions), latents, times)
        if isinstance(model.codec, Pixels):
            estimate = estimate.clamp(-1, 1)
        drawn = [
            torch.randn(model.shape, generator=stream(seed, "credit", "journey", i, step))
            for i in range(len(latents))
        ]
        noise = torch.stack(drawn).to(latents.device)
        rows.append(model.noised(estimate, times, noise))
        noises.append(noise)
    x, e = torch.stack(rows, dim=1), torch.stack(noises, dim=1)
    steps = torch.tensor([t for t, _ in trail], device=x.device)
    return NoisyInputs(x, steps.expand(len(x), -1), e, conditions)


def projected_gradients(
    model: Diffusion,
    inputs: NoisyInputs,
    config: GradientConfig,
    *,
    loss: str = "simple",
    track: Track = quiet,
) -> Tensor:
    """phi of each image, float32 (N, k) on the CPU.

    `simple`: mean (e - predicted e)^2; `square`: mean (predicted e)^2, as D-TRAK, on either side.
    """
    if loss not in LOSSES:
        raise InputError(f"the loss is {loss!r}; choose {' or '.join(LOSSES)}")
    model.network.eval()
    weights = {k: p.detach() for k, p in model.network.named_parameters() if p.requires_grad}
    others = {k: p.detach() for k, p in model.network.named_parameters() if not p.requires_grad}
    others |= dict(model.network.named_buffers())
    if not weights:
        raise InputError("the network has no trained weights, so it has no gradients")
    # Never in one piece with the other images: each has its own gradient.
    each = vmap(grad(_loss_of(model, others, loss)), in_dims=(None, 0, 0, 0, 0), randomness="error")
    rows = []
    parts = torch.split(torch.arange(len(inputs.x)), config.batch)
    for part in track(parts, "computing gradients", total=len(parts)):
        here = part.to(inputs.x.device)
        # The other kernels of attention have no rule for a batch of gradients.
        with sdpa_kernel(SDPBackend.MATH):
            gradients = _over_time(each, weights, inputs, here)
        rows.append(project(gradients, config.dimension, seed=config.seed))
    return torch.cat(rows).cpu()


def _over_time(
    each: Any, weights: Mapping[str, Tensor], inputs: NoisyInputs, here: Tensor
) -> dict[str, Tensor]:
    """Gradients of the images `here`, averaged over their time steps, a few of them at a time."""
    total: dict[str, Tensor] = {}
    count = inputs.x.shape[1]
    for piece in torch.split(torch.arange(count, device=here.device), TIMES_AT_ONCE):
        few = [values[here][:, piece] for values in (inputs.x, inputs.t, inputs.e)]
        gradients = each(weights, *few, inputs.conditions[here])
        for name, gradient in gradients.items():
            part = gradient * (len(piece) / count)
            total[name] = total[name] + part if name in total else part
    return total


def image_gradients(
    model: Diffusion,
    latents: Tensor,
    conditions: Tensor,
    config: GradientConfig,
    *,
    loss: str = "simple",
    track: Track = quiet,
) -> Tensor:
    """phi of latents (N, C, H, W), float32 (N, k) on the CPU, computed batch by batch."""
    rows = []
    parts = torch.split(torch.arange(len(latents)), config.batch)
    for part in track(parts, "computing gradients", total=len(parts)):
        here = part.to(latents.device)
        inputs = noise_images(model, latents[here], conditions[here], config, first=int(part[0]))
        rows.append(projected_gradients(model, inputs, config, loss=loss))
    return torch.cat(rows)


def project(gradients: Mapping[str, Tensor], dimension: int, *, seed: int) -> Tensor:
    """P^T g of gradients (N, ...) by parameter name, float32 (N, k)."""
    total: Tensor | None = None
    for name, gradient in gradients.items():
        flat = gradient.detach().flatten(1)
        for number, part in enumerate(torch.split(flat, BLOCK, dim=1)):
            signs = _signs(part.shape[1], dimension, seed, name, number).to(flat.device)
            piece = part @ signs
            total = piece if total is None else total + piece
    if total is None:
        raise InputError("there is no gradient to project")
    projected: Tensor = total / dimension**0.5
    return projected


@dataclass(frozen=True, eq=False)
class GradientRows(Artifact):
    """Rows of `image_gradients` (N, k), saved under a name that tells what they are of."""

    kind: ClassVar[str] = "credit/gradients"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "remove it"

    rows: Tensor

    def to_saved(self) -> Saved:
        """The rows."""
        return Saved({}, {"rows": self.rows})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The rows."""
        return cls(saved.tensors["rows"])


def _signs(rows: int, columns: int, seed: int, name: str, number: int) -> Tensor:
    """Signs (rows, columns) float32 of one block of P."""
    count = -(-rows * columns // 8)
    rng = stream(seed, "credit", "projection", columns, name, number)
    octets = torch.randint(256, (count,), generator=rng, dtype=torch.uint8)
    bits = octets[:, None].bitwise_right_shift(torch.arange(8, dtype=torch.uint8)) & 1
    signs: Tensor = bits.flatten()[: rows * columns].view(rows, columns).float() * 2 - 1
    return signs


def _loss_of(model: Diffusion, others: Mapping[str, Tensor], loss: str) -> Any:
    def value(
        weights: Mapping[str, Tensor], x: Tensor, t: Tensor, e: Tensor, condition: Tensor
    ) -> Tensor:
        given = model.given(x, condition.expand(len(x)))
        output = functional_call(model.network, {**weights, **others}, (x, t), given).sample
        prediction = model.as_noise(output, x, t)
        wanted = e if loss == "simple" else torch.zeros_like(e)
        loss_of_one: Tensor = (prediction - wanted).square().mean()
        return loss_of_one

    return value
