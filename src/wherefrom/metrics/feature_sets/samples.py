"""Checks of the feature sets that metrics compare: shape (N, D), enough rows, all finite."""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.core.errors import InputError


def checked_pair(
    real: Tensor, generated: Tensor, *, at_least: int, what: str
) -> tuple[Tensor, Tensor]:
    """Both as float64; `InputError` that says how many rows `what` needs, or which is NaN."""
    first = checked(real, at_least=at_least, what=what, whose="real")
    second = checked(generated, at_least=at_least, what=what, whose="generated")
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"the real features have length {first.shape[1]}, the generated {second.shape[1]}; "
            "compute both with one encoder"
        )
    return first, second


def checked(features: Tensor, *, at_least: int, what: str, whose: str) -> Tensor:
    """(N, D) as float64; `InputError` for other shapes, too few rows, or a row with NaN."""
    if features.ndim != 2 or not features.shape[1]:
        raise InputError(f"the {whose} features are {tuple(features.shape)}, expected (N, D)")
    if len(features) < at_least:
        raise InputError(
            f"{what} needs at least {at_least} {whose} images, but there are {len(features)}"
        )
    bad = torch.nonzero(~torch.isfinite(features).all(dim=1))
    if len(bad):
        raise InputError(
            f"the features of {whose} image {int(bad[0])} hold NaN or infinity; leave it out"
        )
    return features.double()
