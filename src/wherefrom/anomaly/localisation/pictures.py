"""The heat map as a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.anomaly.localisation.heat_maps import Localisation
from wherefrom.data.images.writing import to_uint8

HEAT = (255, 40, 0)
CONTOURS = ((255, 230, 0), (0, 230, 255), (255, 255, 255))  # of the first, second, third segment


def overlay(image: Tensor, localisation: Localisation) -> Tensor:
    """The heat map over an image (3, H, W) in [0, 1], uint8 (3, H, W).

    Red grows with W >= 0; the three largest segments are outlined in yellow, cyan and white.
    """
    grey = image.float().mean(dim=0, keepdim=True).expand(3, -1, -1) * 0.7 + image.float() * 0.3
    positive = localisation.contributions.clamp_min(0)
    heat = (positive / positive.max().clamp_min(1e-300))[localisation.segments].float() * 0.6
    red = torch.tensor(HEAT).view(3, 1, 1) / 255
    shown = to_uint8(grey * (1 - heat) + red * heat)
    for segment, colour in reversed(list(zip(localisation.top, CONTOURS, strict=False))):
        shown[:, _contour(localisation.segments == segment)] = torch.tensor(
            colour, dtype=torch.uint8
        )[:, None]
    return shown


def _contour(inside: Tensor) -> Tensor:
    """The pixels (H, W) bool of a region that touch something else, or the border."""
    padded = torch.nn.functional.pad(inside, (1, 1, 1, 1))
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~around
