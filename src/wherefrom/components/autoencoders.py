"""Autoencoders of diffusers, from images in [0, 1] to latents of about unit variance and back.

The latents are those that diffusers' pipelines give to their networks:

    latent = (z - mean) * factor / std        z = latent * std / factor + mean

`mean`, `std`: `latents_mean` and `latents_std` of the config where it has both, else `shift_factor`
(0 if absent) and 1.  `factor`: `scaling_factor`, 1 if absent.  Flux.2 keeps both statistics in a
batch norm over squares of 2 x 2 latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wherefrom.components.folders import AUTOENCODERS, Component, find_component
from wherefrom.components.loading import load_component, settings_of
from wherefrom.core.errors import InputError


@dataclass(frozen=True)
class Form:
    """The calling convention of a class of autoencoder.

    `frames`: it takes (N, C, T, H, W), and one image is T = 1.  `decodes`: the same latent always
    gives the same image, which is not so for a decoder that draws noise.
    """

    frames: bool = False
    decodes: bool = True


FORMS: dict[str, Form] = {
    "AutoencoderKL": Form(),
    "AutoencoderTiny": Form(),
    "VQModel": Form(),
    "AsymmetricAutoencoderKL": Form(),
    "AutoencoderDC": Form(),
    "AutoencoderKLFlux2": Form(),
    "AutoencoderKLHunyuanImage": Form(),
    "AutoencoderKLQwenImage": Form(frames=True),
    "AutoencoderKLWan": Form(frames=True),
    "ConsistencyDecoderVAE": Form(decodes=False),
}
WHAT = "an autoencoder"
PROBE = 2  # side of the latent from which the enlargement is measured; Flux.2 needs an even one


class LatentScale(nn.Module):
    """The shift and scale between an autoencoder's own latents z and those of unit variance.

    All three are float32 of shape (1, c, 1, 1) or (1, 1, 1, 1).
    """

    mean: Tensor
    std: Tensor
    factor: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        mean, std = config.get("latents_mean"), config.get("latents_std")
        stated = mean is not None and std is not None
        factor = config.get("scaling_factor")
        given = {
            "mean": mean if stated else config.get("shift_factor") or 0.0,
            "std": std if stated else 1.0,
            "factor": 1.0 if factor is None else factor,
        }
        for name, numbers in given.items():
            value = _numbers(numbers)
            usable = bool(torch.isfinite(value).all()) and (
                name == "mean" or bool((value > 0).all())
            )
            if not usable:
                raise InputError(
                    f"the config's {name} of the latents is zero, negative, NaN, infinite or no "
                    "number; it stands in latents_mean, latents_std, shift_factor or scaling_factor"
                )
            # In the digest only where an earlier version ignored it, so that others do not change.
            counted = stated and given["factor"] != 1
            self.register_buffer(name, value.view(1, -1, 1, 1), persistent=counted)

    def normalised(self, z: Tensor) -> Tensor:
        """z of the autoencoder -> latents of unit variance, both (N, c, h, w)."""
        return (z - self.mean) * self.factor / self.std

    def restored(self, latents: Tensor) -> Tensor:
        """Latents of unit variance -> z of the autoencoder, both (N, c, h, w)."""
        return latents * self.std / self.factor + self.mean


def _numbers(given: Any) -> Tensor:
    """Numbers of a config as float32, NaN where they are none."""
    try:
        return torch.as_tensor(given).float()
    except (TypeError, ValueError, RuntimeError):
        return torch.tensor(torch.nan)


class PatchScale(nn.Module):
    """The scale of Flux.2: a batch norm of (N, 4 c, h / 2, w / 2), 2 x 2 squares as channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, norm: Any, epsilon: float) -> None:
        super().__init__()
        std = (norm.running_var.detach() + epsilon).sqrt()
        # Computed from the autoencoder's own buffers, so no part of the digest.
        self.register_buffer("mean", norm.running_mean.detach().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)

    def normalised(self, z: Tensor) -> Tensor:
        """z of the autoencoder -> latents of unit variance, both (N, c, h, w)."""
        squares = nn.functional.pixel_unshuffle(z, 2)
        return nn.functional.pixel_shuffle((squares - self.mean) / self.std, 2)

    def restored(self, latents: Tensor) -> Tensor:
        """Latents of unit variance -> z of the autoencoder, both (N, c, h, w)."""
        squares = nn.functional.pixel_unshuffle(latents, 2)
        return nn.functional.pixel_shuffle(squares * self.std + self.mean, 2)


@dataclass(frozen=True, eq=False)
class ImageAutoencoder:
    """A loaded autoencoder of single images; `vae` is the class of diffusers."""

    component: Component
    vae: nn.Module
    scale: LatentScale | PatchScale
    form: Form

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> latents (N, c, h, w): the mode, without any noise."""
        return self.scale.normalised(encoded(self.vae, images, self.form))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, c, h, w) -> images (N, 3, H, W) in [0, 1]."""
        return decoded(self.vae, self.scale.restored(latents), self.form)

    @property
    def channels(self) -> int:
        """c of its latents."""
        return _latent_channels(settings_of(self.vae))

    @torch.no_grad()
    def enlargement(self) -> int:
        """Pixels of the image per entry of the latent, along a side."""
        latent = torch.zeros(1, self.channels, PROBE, PROBE)
        return int(self.decode(latent).shape[-1]) // PROBE

    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) for the image size that its config states; `InputError` if it states none."""
        size = settings_of(self.vae).get("sample_size")
        side = size[-1] if isinstance(size, list | tuple) and size else size
        times = self.enlargement()
        if not isinstance(side, int) or side < times:
            raise InputError(
                f"{self.component.shown} does not state its sample_size; pass latent (command "
                f"line: --latent {self.channels},{512 // times},{512 // times} for images of "
                f"{512 // times * times} pixels)"
            )
        return (self.channels, side // times, side // times)


def _latent_channels(config: Mapping[str, Any]) -> int:
    names = ("vq_embed_dim", "latent_channels", "z_dim")
    return next(int(config[name]) for name in names if config.get(name))


def encoded(vae: nn.Module, images: Tensor, form: Form) -> Tensor:
    """z (N, c, h, w) of images (N, 3, H, W) in [0, 1]: the mode of the posterior."""
    x = images * 2 - 1
    answer: Any = vae.encode(x[:, :, None] if form.frames else x)  # type: ignore[operator]
    if hasattr(answer, "latent_dist"):
        z: Tensor = answer.latent_dist.mode()
    else:
        z = answer.latents if hasattr(answer, "latents") else answer.latent
    return z[:, :, 0] if form.frames else z


def decoded(vae: nn.Module, z: Tensor, form: Form) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] of z (N, c, h, w)."""
    given = z[:, :, None] if form.frames else z
    image: Tensor = vae.decode(given, return_dict=False)[0]  # type: ignore[operator]
    return ((image[:, :, 0] if form.frames else image) / 2 + 0.5).clamp(0, 1)


def find_autoencoder(path: Path, *, decodes: bool = True) -> Component:
    """The autoencoder at `path`: its folder, a pipeline's, or one file of weights.

    `InputError` that names the class if it is none of `FORMS`, or, with `decodes`, if its decoder
    draws noise.
    """
    component = find_component(path, AUTOENCODERS, what=WHAT)
    known = [name for name, form in FORMS.items() if form.decodes or not decodes]
    if component.kind not in FORMS:
        beside = component.folder.parent / AUTOENCODERS[0]
        hint = f"; did you mean {beside}" if beside.is_dir() and beside != component.folder else ""
        raise InputError(
            f"{component.shown} holds {component.kind!r}, expected one of {', '.join(known)}{hint}"
        )
    if component.kind not in known:
        raise InputError(
            f"{component.shown} holds a {component.kind!r}, whose decoder draws noise at every "
            "call, so it makes no fixed image of a latent; take the autoencoder that the images "
            "were made with, or use it as an encoder only"
        )
    return component


def load_autoencoder(path: Path, *, decodes: bool = True, purpose: str = "") -> ImageAutoencoder:
    """The autoencoder at `path`, as `find_autoencoder` takes it.  `InputError` for any fault."""
    component = find_autoencoder(path, decodes=decodes)
    vae = load_component(component, purpose=purpose)
    config = settings_of(vae)
    if int(config.get("in_channels") or 3) not in (3, 12):  # Wan 2.2 counts 2 x 2 squares
        raise InputError(
            f"{component.shown} takes images of {config['in_channels']} channels, expected 3; give "
            "an autoencoder of RGB images"
        )
    norm = getattr(vae, "bn", None)
    scale: LatentScale | PatchScale
    if component.kind == "AutoencoderKLFlux2" and norm is not None:
        scale = PatchScale(norm, float(config["batch_norm_eps"]))
    else:
        scale = LatentScale(config)
        count, channels = max(scale.mean.numel(), scale.std.numel()), _latent_channels(config)
        if count not in (1, channels):
            raise InputError(
                f"{component.shown}: the config's scale of the latents is of {count} channels, and "
                f"they have {channels}; correct latents_mean and latents_std"
            )
    return ImageAutoencoder(component, vae, scale, FORMS[component.kind])
