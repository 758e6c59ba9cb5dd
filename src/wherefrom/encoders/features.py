"""Frozen feature networks: one feature vector per image, with gradients to its pixels.

The network's input size, mean and deviation are part of its module.  The caller's images
are float (N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.compute.passes import full_precision, in_passes
from wherefrom.core.errors import InputError
from wherefrom.encoders.encoder import EncoderIdentity, check_shape, identify

RESIZE = "centre crop on reading, then bicubic, antialias"
LOGIT_ROWS = 64  # features per pass through the classifier
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeatureEncoder(Protocol):
    """The interface of a feature model M, as the anomaly scores use it."""

    @property
    def identity(self) -> EncoderIdentity:
        """Which model it is; `identity.digest` stands in every calibration and cache key."""

    @property
    def dimension(self) -> int:
        """D, the length of a feature vector."""

    @property
    def resolution(self) -> int:
        """The side in px at which images are read for it."""

    @property
    def device(self) -> torch.device:
        """Where images must live."""

    @property
    def differentiable(self) -> bool:
        """Whether `features` passes gradients to its images."""

    def features(self, images: Tensor) -> Tensor:
        """Features (N, D) float32 of images (N, 3, H, W) float in [0, 1], with their gradient.

        Images in float64 give float64 features where `in_double` made the encoder.
        """

    def in_double(self) -> FeatureEncoder | None:
        """The same model computed in float64; None where it cannot be."""

    def logits(self, features: Tensor) -> Tensor | None:
        """Class logits (N, K) of features (N, D); None of a model without classes."""


class Preprocess(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> (N, 3, S, S) in a network's own range."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, resolution: int, mean: tuple[float, ...], std: tuple[float, ...], network: nn.Module
    ) -> None:
        super().__init__()
        self.resolution, self.network = resolution, network
        # Settings, not weights: the identity sees them in the config.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def prepared(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, S, S) in the network's range."""
        if x.shape[-2:] != (self.resolution, self.resolution):
            size = (self.resolution, self.resolution)
            x = F.interpolate(x, size, mode="bicubic", antialias=True)
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> the network's output."""
        out: Tensor = self.network(self.prepared(x))
        return out


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A loaded feature model.  `module` maps images (N, 3, H, W) in [0, 1] to features (N, D)."""

    identity: EncoderIdentity
    module: Callable[[Tensor], Tensor]
    dimension: int
    differentiable: bool
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (an immutable value)
    head: nn.Module | None = None  # features (N, D) -> class logits (N, K)

    @property
    def resolution(self) -> int:
        """The side in px at which images are read for it."""
        return self.identity.resolution

    def features(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) float in [0, 1], with their gradient.

        `InputError` for other shapes or dtypes.  Values are not checked: perturbed images may leave
        [0, 1].
        """
        check_shape(images)
        wide = images if images.dtype == torch.float64 else images.float()
        with full_precision(images.device):
            rows = self.module(wide)
        if not isinstance(rows, Tensor) or rows.shape != (len(images), self.dimension):
            raise InputError(
                f"the encoder {self.identity.kind} gives {_shape(rows)} for {len(images)} images, "
                f"expected ({len(images)}, {self.dimension})"
            )
        return rows if rows.dtype == torch.float64 else rows.float()

    def in_double(self) -> FeatureNetwork | None:
        """The same model computed in float64; None for a callable that is no module."""
        if not isinstance(self.module, nn.Module):
            return None
        return replace(self, module=copy.deepcopy(self.module).double())

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor | None:
        """Class logits (N, K) float32 of features (N, D), on their device; None without classes."""
        if self.head is None:
            return None
        head = self.head.to(features.device)
        logits: Tensor = in_passes(head, features.float(), size=LOGIT_ROWS)
        return logits

    def to(self, device: torch.device | str) -> Self:
        """This encoder on another device; `InputError` for a callable that is no module."""
        if not isinstance(self.module, nn.Module):
            if torch.device(device) == self.device:
                return self
            raise InputError("an encoder that is a plain function cannot be moved; move its parts")
        return replace(self, module=self.module.to(device), device=torch.device(device))


def make_feature_encoder(
    module: Callable[[Tensor], Tensor],
    *,
    kind: str,
    resolution: int,
    config: Mapping[str, Any] | None = None,
) -> FeatureNetwork:
    """A `FeatureNetwork` of any callable from images (N, 3, H, W) in [0, 1] to features (N, D).

    An `nn.Module` is frozen, set to evaluation and to float32, and its weights are part of its
    identity.  Of a plain function only `kind` and `config` (JSON values) are known: change `config`
    whenever its features change.  The module is tried on a grey image of `resolution` px; anything
    but finite features of shape (1, D) is an `InputError`.
    """
    device, weights = torch.device("cpu"), {}
    if isinstance(module, nn.Module):
        module = module.float().eval().requires_grad_(False)
        # In place.  Convolutions are a fifth quicker; the overload is absent from torch's types.
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = module.state_dict()
        device = next((value.device for value in weights.values()), device)
    identity = replace(
        identify(kind, {**(config or {}), "resolution": resolution}, weights),
        resolution=resolution,
        resize=RESIZE,
    )
    grey = torch.full((1, 3, resolution, resolution), 0.5, device=device, requires_grad=True)
    with torch.enable_grad(), full_precision(device):
        rows = module(grey)
    if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.shape[0] != 1 or not rows.shape[1]:
        raise InputError(f"the encoder {kind} gives {_shape(rows)} for one image, expected (1, D)")
    if not bool(torch.isfinite(rows).all()):
        raise InputError(
            f"the encoder {kind} gives NaN or infinite features; its weights are damaged"
        )
    return FeatureNetwork(identity, module, rows.shape[1], _passes_gradients(rows, grey), device)


def _passes_gradients(rows: Tensor, images: Tensor) -> bool:
    if not rows.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(rows.sum(), images, allow_unused=True)
    return gradient is not None


def _shape(rows: object) -> str:
    return str(tuple(rows.shape)) if isinstance(rows, Tensor) else f"a {type(rows).__name__}"
