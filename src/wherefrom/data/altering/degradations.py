"""Degradations of images: blur, crop and scale, noise, JPEG, WebP, and chains of two of them.

They come at a stated strength (`Alteration`) or at a random one (`degrade`).  The random ranges
hold the strengths of FLIPAD's Table 3 and weaker ones.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream
from wherefrom.data.images.items import to_image, to_pixels, with_channels
from wherefrom.data.images.writing import to_float, to_uint8

CLEAN = "clean"
CHAIN = "chain"


def blur(image: Tensor, sigma: float) -> Tensor:
    """uint8 (C, H, W) under a Gaussian of `sigma` px, mirrored at the border."""
    return image if sigma == 0 else to_uint8(gaussian(to_float(image), sigma))


def gaussian(x: Tensor, sigma: float, *, border: str = "reflect") -> Tensor:
    """Float (C, H, W), each channel under a Gaussian of `sigma` px; `border` as scipy's `mode`."""
    from scipy.ndimage import gaussian_filter  # slow to import

    blurred: Any = gaussian_filter(x.numpy(), sigma=(0, sigma, sigma), mode=border)
    return torch.from_numpy(np.ascontiguousarray(blurred))


def crop(image: Tensor, share: float) -> Tensor:
    """The centre of uint8 (C, H, W), `share` of each side, scaled back (bilinear)."""
    height, width = image.shape[1:]
    inner = [max(1, round(side * share)) for side in (height, width)]
    top, side = (height - inner[0]) // 2, (width - inner[1]) // 2
    cut = to_float(image[:, top : top + inner[0], side : side + inner[1]])
    scaled = F.interpolate(
        cut[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return to_uint8(scaled[0])


def noise(image: Tensor, sigma: float, rng: torch.Generator) -> Tensor:
    """uint8 (C, H, W) plus Gaussian noise of deviation `sigma`, in [0, 1] units."""
    return to_uint8(to_float(image) + sigma * torch.randn(image.shape, generator=rng))


def jpeg(image: Tensor, quality: int) -> Tensor:
    """uint8 (C, H, W) after a JPEG file of that quality."""
    return _through_file(image, "JPEG", quality)


def webp(image: Tensor, quality: int) -> Tensor:
    """uint8 (C, H, W) after a lossy WebP file of that quality."""
    return _through_file(image, "WEBP", quality)


def _through_file(image: Tensor, kind: str, quality: int) -> Tensor:
    buffer = io.BytesIO()
    to_image(image).save(buffer, format=kind, quality=quality)
    with Image.open(buffer) as opened:
        pixels = to_pixels(opened.convert("L" if len(image) == 1 else "RGB"))
    return with_channels(pixels, len(image))


def _between(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng))


def _quality(rng: torch.Generator) -> int:
    return round(_between(60, 98, rng))


Degradation = Callable[[Tensor, torch.Generator], Tensor]

# One strength each, drawn at random; image uint8 (C, H, W).
KINDS: dict[str, Degradation] = {
    "blur": lambda x, rng: blur(x, _between(0.3, 1.5, rng)),
    "crop": lambda x, rng: crop(x, _between(0.8, 0.97, rng)),
    "noise": lambda x, rng: noise(x, _between(0.01, 0.12, rng), rng),
    "jpeg": lambda x, rng: jpeg(x, _quality(rng)),
    "webp": lambda x, rng: webp(x, _quality(rng)),
}


@dataclass(frozen=True)
class Alteration:
    """One kind of degradation at one strength.  `str(alteration)` is what `parse` takes."""

    kind: str
    strength: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `kind=strength`, as in jpeg=80; an `InputError` for another kind or strength.

        blur: deviation in pixels; crop: share of each side that is kept; noise: deviation in [0, 1]
        units; jpeg, webp: quality.
        """
        kind, _, strength = text.partition("=")
        if kind not in STRENGTHS:
            raise InputError(
                f"there is no alteration {text!r}; give one of {', '.join(STRENGTHS)} and its "
                "strength, as in jpeg=80"
            )
        low, high = STRENGTHS[kind][:2]
        try:
            value = float(strength)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise InputError(
                f"the alteration {text!r} has no strength from {low:g} to {high:g}; give one, as "
                f"in {kind}={high:g}"
            )
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}={self.strength:g}"

    def applied(self, images: Tensor, seed: int) -> Tensor:
        """uint8 (N, C, H, W), altered; image i depends on itself, i and the seed only."""
        change = STRENGTHS[self.kind][2]
        changed = [
            change(image, self.strength, stream(seed, str(self), index))
            for index, image in enumerate(images)
        ]
        return torch.stack(changed) if changed else images


# Smallest and largest strength, and the function that applies it.
STRENGTHS: dict[str, tuple[float, float, Callable[[Tensor, float, torch.Generator], Tensor]]] = {
    "blur": (0.0, 10.0, lambda x, s, _: blur(x, s)),
    "crop": (0.1, 1.0, lambda x, s, _: crop(x, s)),
    "noise": (0.0, 1.0, noise),
    "jpeg": (1, 100, lambda x, s, _: jpeg(x, round(s))),
    "webp": (1, 100, lambda x, s, _: webp(x, round(s))),
}
# FLIPAD's Table 3.  Its crops are given in pixels of 64; its blur is a kernel of one or three
# pixels, here a Gaussian of one pixel.
TABLE_3 = (
    *(Alteration("blur", 1.0), Alteration("crop", 60 / 64), Alteration("crop", 55 / 64)),
    *(Alteration("noise", 0.05), Alteration("noise", 0.1)),
    *(Alteration("jpeg", 90), Alteration("jpeg", 80)),
)


def degrade(image: Tensor, kind: str, rng: torch.Generator) -> Tensor:
    """uint8 (C, H, W) after `kind` at a random strength; "chain": two other kinds in a row."""
    if kind == CLEAN:
        return image
    if kind != CHAIN:
        return KINDS[require_kind(kind)](image, rng)
    names = list(KINDS)
    first, second = torch.randperm(len(names), generator=rng)[:2].tolist()
    return KINDS[names[second]](KINDS[names[first]](image, rng), rng)


def degrade_all(
    images: Tensor, kinds: Sequence[str], *, seed: int, clean_share: float = 0.0
) -> Tensor:
    """uint8 (N, C, H, W), each image after one of `kinds` at random, a share of them as it is.

    Image i depends on (images[i], i, seed, kinds, clean_share) only.
    """
    for kind in kinds:
        require_kind(kind)
    changed = torch.empty_like(images)
    for index, image in enumerate(images):
        rng = stream(seed, "degrade", index)
        spared = float(torch.rand((), generator=rng)) < clean_share
        chosen = kinds[int(torch.randint(len(kinds), (), generator=rng))] if kinds else CLEAN
        changed[index] = degrade(image, CLEAN if spared else chosen, rng)
    return changed


def require_kind(kind: str) -> str:
    """`kind`; an `InputError` with the known ones if it is none."""
    known = (*KINDS, CHAIN, CLEAN)
    if kind not in known:
        raise InputError(f"there is no degradation {kind!r}; choose from {', '.join(known)}")
    return kind
