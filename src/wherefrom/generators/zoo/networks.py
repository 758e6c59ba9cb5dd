"""The four small GANs of FLIPAD's experiments, at 32, 64 and 128 pixels and any width.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024, App. G.2.  `width` is the number of channels that enter the last
layer; 64 is the paper's.  Every generator maps (N, latent) or (N, latent, 1, 1) to (N, C, S, S)
in [-1, 1].

Deviation: at 32 pixels one stage fewer, at 128 one more (the paper's models are 64 pixels only; its
medical ones, of 128, are not public).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError

ARCHITECTURES = ("dcgan", "wgan-gp", "lsgan", "ebgan")
STAGES = {32: 3, 64: 4, 128: 5}


def _stages(size: int) -> int:
    if size not in STAGES:
        raise InputError(f"the zoo makes images of 32, 64 or 128 pixels, not {size}")
    return STAGES[size]


class TransposedGenerator(nn.Module):
    """Generator of DCGAN, WGAN-GP and EBGAN: transposed convolutions, the last one without bias."""

    def __init__(self, *, size: int, channels: int, width: int, latent: int) -> None:
        super().__init__()
        self.latent_shape = (latent,)
        widths = [width * 2**k for k in reversed(range(_stages(size)))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False)]
        for before, after in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, C, S, S) in [-1, 1]."""
        out: Tensor = self.layers(z.reshape(z.shape[0], -1, 1, 1))
        return out


class UpsamplingGenerator(nn.Module):
    """Generator of LSGAN: a dense layer, then nearest upsampling and 3x3 convolutions."""

    def __init__(self, *, size: int, channels: int, width: int, latent: int) -> None:
        super().__init__()
        _stages(size)
        self.latent_shape = (latent,)
        self.start = (2 * width, size // 8, size // 8)
        self.dense = nn.Linear(latent, 2 * width * (size // 8) ** 2)
        layers: list[nn.Module] = []
        for before, after in ((2 * width, 2 * width), (2 * width, 2 * width), (2 * width, width)):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, C, S, S) in [-1, 1]."""
        hidden = self.dense(z.reshape(z.shape[0], -1)).reshape(z.shape[0], *self.start)
        out: Tensor = self.layers(hidden)
        return out


def _halving_critic(
    *, size: int, channels: int, width: int, norm: Callable[[int, int], nn.Module]
) -> nn.Sequential:
    """Strided convolutions, (N, C, S, S) -> (N,); `norm` makes a layer of (channels, side)."""
    stages = _stages(size)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False)]
    layers += [nn.LeakyReLU(0.2, inplace=True)]
    for k in range(1, stages):
        before, after = width * 2 ** (k - 1), width * 2**k
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), norm(after, size // 2 ** (k + 1))]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    last = nn.Conv2d(width * 2 ** (stages - 1), 1, 4, 1, 0, bias=False)
    return nn.Sequential(*layers, last, nn.Flatten(0))


class LSGANDiscriminator(nn.Module):
    """Blocks of strided convolution, leaky ReLU, dropout 0.25, batch norm; a dense end of 512.

    Deviation: its widths are the paper's 16 to 128 whatever `width` is; narrower ones stall.
    """

    def __init__(self, *, size: int, channels: int) -> None:
        super().__init__()
        widths = (16, 32, 64, *[128] * (_stages(size) - 2))
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip((channels, *widths), widths, strict=False)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            layers += [nn.Dropout2d(0.25)]
            if index:
                layers += [nn.BatchNorm2d(after)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Linear(512, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N,)."""
        out: Tensor = self.dense(self.layers(x)).reshape(-1)
        return out


class EBGANDiscriminator(nn.Module):
    """An autoencoder; `forward` returns the reconstruction and the flat code."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        encoder: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False)]
        decoder: list[nn.Module] = []
        for w in (width, 2 * width):
            encoder += [nn.BatchNorm2d(w), nn.LeakyReLU(0.2, inplace=True)]
            encoder += [nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False)]
        for w in (2 * width, width):
            decoder += [nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False)]
            decoder += [nn.BatchNorm2d(w), nn.ReLU(inplace=True)]
        last = nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False)
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder, last)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) -> reconstruction (N, C, S, S), code (N, D)."""
        code = self.encoder(x)
        return self.decoder(code), code.flatten(1)


def make_generator(
    architecture: str, *, size: int = 64, channels: int = 3, width: int = 64, latent: int = 100
) -> nn.Module:
    """An untrained zoo generator; `architecture` is one of `ARCHITECTURES`."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"no architecture {architecture!r}; choose {', '.join(ARCHITECTURES)}")
    kind = UpsamplingGenerator if architecture == "lsgan" else TransposedGenerator
    return kind(size=size, channels=channels, width=width, latent=latent)


def make_discriminator(architecture: str, *, size: int, channels: int, width: int) -> nn.Module:
    """The untrained discriminator, critic or autoencoder that goes with `make_generator`."""
    shape: dict[str, Any] = {"size": size, "channels": channels, "width": width}
    if architecture == "dcgan":  # logits: the paper's sigmoid is part of the loss (stabler)
        return _halving_critic(**shape, norm=lambda c, _: nn.BatchNorm2d(c))
    if architecture == "wgan-gp":
        return _halving_critic(**shape, norm=lambda c, s: nn.LayerNorm([c, s, s]))
    if architecture == "lsgan":
        return LSGANDiscriminator(size=size, channels=channels)
    return EBGANDiscriminator(channels=channels, width=width)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights from one random stream.

    Dense layers: PyTorch's U(+-1 / sqrt(fan in)).  A model that has one (LSGAN) uses the same for
    its convolutions; the others start like DCGAN: N(0, 0.02), batch norm N(1, 0.02).
    """
    fan_in = any(isinstance(part, nn.Linear) for part in module.modules())
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if fan_in:
                bound = part.weight[0].numel() ** -0.5
                part.weight.uniform_(-bound, bound, generator=generator)
            else:
                part.weight.normal_(0.0, 0.02, generator=generator)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.BatchNorm2d) and not fan_in:
            part.weight.normal_(1.0, 0.02, generator=generator)
            part.bias.zero_()
