"""Pictures of a model: fresh samples, decoded codes, and the way from one image to another."""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.inversion.model import FittedInverter


def labels_for(fitted: FittedInverter, name: str | None, count: int) -> Tensor | None:
    """The class `name` (or its number) for `count` images, int64 (count, L); None for no class.

    With several labels every label but the named one has its likeliest class.  An `InputError` for
    a name that is unknown, or for a model that makes no images of a class.
    """
    if name is None:
        return None
    if not fitted.needs_classes:
        raise InputError(f"{fitted.config.method} makes no images of a wanted class; leave it out")
    label, value = fitted.find_attribute(name)
    row = fitted.prior.argmax(dim=1).cpu()
    row[label] = value
    return row.expand(count, -1)


def interpolate(fitted: FittedInverter, images: Tensor, *, steps: int = 9) -> Tensor:
    """The way from the first of two images (2, C, S, S) to the second, (steps, C, S, S) in [0, 1].

        G(((1 - t) z'_a + t z'_b) o s),   z' = E(x),   t = 0 ... 1 in equal steps

    A generator of classes makes the first half of the likeliest class of the first image.
    """
    if len(images) != 2 or steps < 2:
        raise InputError(f"{len(images)} images and {steps} steps; give 2 images, at least 2 steps")
    codes = fitted.encode(images)
    t = torch.linspace(0, 1, steps, device=codes.device)[:, None]
    labels = fitted.likeliest(images)
    if labels is not None:
        labels = labels[(t[:, 0] > 0.5).long()]
    return fitted.decode((1 - t) * codes[0] + t * codes[1], labels)
