"""A small convolutional autoencoder: latents at 1/8 of the resolution, no extra package needed.

It is deterministic, so its latents are their own mode.  A latent is standardised by buffers that
the training sets, so that it has about unit variance per channel.

A saved one is a folder of `config.json` and `model.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.components.folders import read_config
from wherefrom.components.libraries import first_line
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import scratch_beside, write_file
from wherefrom.encoders.encoder import Encoder, make_encoder

KIND = "tiny-conv"
WEIGHTS = "model.safetensors"
FACTOR = 8


@dataclass(frozen=True, kw_only=True)
class TinyConvConfig(Config):
    """Settings of `make_autoencoder`."""

    latent_channels: int = setting(8, "channels of the latent", low=1, high=256)
    width_half: int = setting(32, "channels at half the resolution", low=1, high=1024)
    width_quarter: int = setting(64, "channels at a quarter of it", low=1, high=1024)
    width_eighth: int = setting(96, "channels at an eighth of it", low=1, high=1024)
    blocks: int = setting(2, "residual blocks at each resolution", low=0, high=16)

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels at 1/2, 1/4 and 1/8."""
        return self.width_half, self.width_quarter, self.width_eighth


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))), 3x3, the second one zero at the start: no norm is needed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w), unchanged in shape."""
        out: Tensor = x + self.second(F.silu(self.first(F.silu(x))))
        return out


class TinyConv(nn.Module):
    """The autoencoder.  Images (N, 3, H, W) in [0, 1], H and W multiples of 8."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TinyConvConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        down: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            down += [nn.Conv2d(before, after, 4, 2, 1)]
            down += [Residual(after) for _ in range(config.blocks)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], config.latent_channels, 3, 1, 1))
        up: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 3, 1, 1)]
        for before, after in zip(widths[::-1], (*widths[-2::-1], 3), strict=True):
            up += [Residual(before) for _ in range(config.blocks)]
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1)]
        self.decoder = nn.Sequential(*up)
        shape = (1, config.latent_channels, 1, 1)
        self.register_buffer("latent_mean", torch.zeros(shape))
        self.register_buffer("latent_std", torch.ones(shape))

    def encode(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> standardised latents (N, c, H / 8, W / 8)."""
        z: Tensor = self.encoder(2 * x - 1)
        return (z - self.latent_mean) / self.latent_std

    def decode(self, z: Tensor) -> Tensor:
        """Standardised latents -> images around [0, 1]; clamp them before they are shown."""
        out: Tensor = self.decoder(z * self.latent_std + self.latent_mean)
        return (out + 1) / 2

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction of x, for training."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def set_latent_scale(self, z: Tensor) -> None:
        """Standardise by the statistics of latents z (N, c, h, w) that `encode` gave."""
        axes = (0, 2, 3)
        mean, std = z.double().mean(axes, keepdim=True), z.double().std(axes, keepdim=True)
        self.latent_mean += mean.float() * self.latent_std
        self.latent_std *= std.float().clamp_min(1e-6)


class _EncodingHalf(TinyConv):
    """A copy of a `TinyConv` without the decoder, which does not count for the identity."""

    def __init__(self, whole: TinyConv) -> None:
        super().__init__(whole.config)
        self.load_state_dict(whole.state_dict())
        del self.decoder

    def forward(self, x: Tensor) -> Tensor:
        """As `encode`."""
        return self.encode(x)


def make_autoencoder(config: TinyConvConfig | None = None, *, seed: int = 0) -> TinyConv:
    """An untrained autoencoder, its weights drawn from `seed`."""
    module = TinyConv(config or TinyConvConfig())
    rng = stream(seed, KIND, "init")
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.normal_(0, part.weight[0].numel() ** -0.5, generator=rng)
                if part.bias is not None:
                    part.bias.zero_()
        for part in module.modules():
            if isinstance(part, Residual):
                part.second.weight.zero_()
    return module


def save_autoencoder(
    module: TinyConv, folder: Path, *, origin: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Write a new folder, whole or not at all.  `origin` (JSON values) says how it was trained.

    `half` stores the weights in float16; they are float32 again once loaded.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    state = {k: v.half() for k, v in state.items()} if half else state
    config = {"_class_name": KIND, "_origin": dict(origin or {}), **module.config.to_dict()}
    try:
        with scratch_beside(folder) as scratch:
            write_file(scratch / WEIGHTS, save(state))
            text = json.dumps(config, indent=1, allow_nan=False)
            write_file(scratch / "config.json", text.encode())
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def load_autoencoder(folder: Path) -> TinyConv:
    """The autoencoder in a folder, float32 on the CPU; an `InputError` in one line for faults."""
    config = read_config(folder)
    if config["_class_name"] != KIND:
        raise InputError(f"{folder} holds a {config['_class_name']!r}, expected {KIND!r}")
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    module = TinyConv(TinyConvConfig.from_dict(settings))
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder} holds no {WEIGHTS}; give the whole folder of the autoencoder")
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
        module.load_state_dict(state)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file: {first_line(error)}"
        ) from error
    except RuntimeError as error:
        raise InputError(f"{path} does not hold the weights that config.json describes") from error
    return module


def load_tiny_conv(folder: Path) -> Encoder:
    """The encoder of a saved autoencoder."""
    return as_encoder(load_autoencoder(folder))


def as_encoder(module: TinyConv) -> Encoder:
    """The encoder of an autoencoder at hand, with weights of its own."""
    return make_encoder(_EncodingHalf(module), kind=KIND, config=module.config.to_dict())
