"""TAEF2, a tiny real autoencoder of FLUX.2's latent space (madebyollin, MIT), for benchmarks.

`resynthesise` makes the same picture out of another model's last layer, as an image-to-image
service would: a rival that shares the owner's content to the pixel.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wherefrom.encoders import Encoder, make_encoder


def _conv(before: int, after: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, 1, bias=bias)


class Block(nn.Module):
    """relu(conv(x) + x), a mid block adds a wide pointwise branch first."""

    def __init__(self, *, mid: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(64, 64), nn.ReLU(), _conv(64, 64), nn.ReLU(), _conv(64, 64))
        self.pool = (
            nn.Sequential(
                nn.Conv2d(64, 256, 1, bias=False),
                nn.GroupNorm(4, 256),
                nn.ReLU(),
                nn.Conv2d(256, 64, 1, bias=False),
            )
            if mid
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        out: Tensor = torch.relu(self.conv(x) + x)
        return out


class Bound(nn.Module):
    """3 tanh(x / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def _three(*, mid: bool = False) -> list[nn.Module]:
    return [Block(mid=mid) for _ in range(3)]


class TAEF2(nn.Module):
    """Images (N, 3, H, W) in [0, 1], sides a multiple of 8, to latents (N, 32, H/8, W/8), back."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        down: list[nn.Module] = [_conv(3, 64), Block()]
        for mid in (False, False, True):
            down += [_conv(64, 64, stride=2, bias=False), *_three(mid=mid)]
        self.encoder = nn.Sequential(*down, _conv(64, 32))
        up: list[nn.Module] = [Bound(), _conv(32, 64), nn.ReLU(), *_three(mid=True)]
        for last in (False, False, True):
            up += [nn.Upsample(scale_factor=2), _conv(64, 64, bias=False)]
            up += [Block()] if last else _three()
        self.decoder = nn.Sequential(*up, _conv(64, 3))
        self.encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
        self.decoder.load_state_dict(load_file(folder / "decoder.safetensors"))
        self.eval()

    @torch.no_grad()
    def resynthesise(self, images: Tensor) -> Tensor:
        """decode(encode(x)), float32 in [0, 1]."""
        parts = [self.decoder(self.encoder(part)).clamp(0, 1) for part in images.split(16)]
        return torch.cat(parts)


def load_taef2(folder: Path) -> Encoder:
    """The encoding half as an encoder of the package, embeddings of 32 * 32 * 32."""
    return make_encoder(TAEF2(folder).encoder, kind="taef2", config={})
