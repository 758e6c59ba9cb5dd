"""The owner's model as somebody may run it: weights rounded, pruned, or nudged.

What a copy makes is the owner's content, nearly to the pixel; its last layer is not the owner's.
The right verdict depends on the question: "did these weights make it?" no, "did my model make it?"
the owner may say yes.  A table shows how far each copy can be told.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wherefrom.core.rng import stream
from wherefrom.generators.generator import Generator, wrap_generator


def rounded(bits: int) -> Callable[[str, Tensor], Tensor]:
    """Each tensor on 2^bits - 1 even steps between its extremes, as weight-only quantisation."""

    def change(_: str, w: Tensor) -> Tensor:
        step = w.abs().max().clamp_min(1e-30) / (2 ** (bits - 1) - 1)
        return (w / step).round() * step

    return change


def pruned(share: float) -> Callable[[str, Tensor], Tensor]:
    """The smallest `share` of each tensor's weights is 0."""

    def change(_: str, w: Tensor) -> Tensor:
        return torch.where(w.abs() > torch.quantile(w.abs().flatten()[: 2**24], share), w, 0.0)

    return change


def nudged(share: float) -> Callable[[str, Tensor], Tensor]:
    """Noise of `share` of each tensor's deviation: what a little further training moves."""

    def change(name: str, w: Tensor) -> Tensor:
        noise = torch.randn(w.shape, generator=stream(0, "nudge", name))
        return w + share * w.std() * noise

    return change


COPIES: dict[str, Callable[[str, Tensor], Tensor]] = {
    "owner, 8-bit weights": rounded(8),
    "owner, 4-bit weights": rounded(4),
    "owner, a fifth pruned": pruned(0.2),
    "owner, nudged by 2 %": nudged(0.02),
}


@torch.no_grad()
def altered_copy(owner: Generator, change: Callable[[str, Tensor], Tensor]) -> Generator:
    """The owner's generator with the weights of its convolutions and dense layers changed."""
    module = copy.deepcopy(owner.module)
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            part.weight.copy_(change(name, part.weight))
    return wrap_generator(module, latent=owner.latent_shape)
