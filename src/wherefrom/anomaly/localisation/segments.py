"""Segments of an image, and the picture that shows which of them matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import MissingExtraError
from wherefrom.data.writing import to_uint8

if TYPE_CHECKING:
    from wherefrom.anomaly.localisation.heat_maps import Localisation

COMPACTNESS = 10.0
MAGNIFIED = 10
HEAT = (255, 40, 0)
CONTOURS = ((255, 230, 0), (0, 230, 255), (255, 255, 255))  # of the first, second, third segment


def slic_segments(image: Tensor, count: int) -> Tensor:
    """Super-pixels of an image (3, H, W) in [0, 1]: (H, W) int64, 0 .. S - 1, S close to `count`.

    SLIC gives fewer segments than it is asked for, so what it is asked for is searched.
    `MissingExtraError` without scikit-image.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise MissingExtraError("scikit-image", "anomaly", "segmentation 'slic'") from error
    pixels = image.permute(1, 2, 0).double().cpu().numpy()
    best, low, high = None, count, 4 * count
    while low <= high:
        asked = (low + high) // 2
        found = slic(pixels, n_segments=asked, compactness=COMPACTNESS, start_label=0)
        _, labels = np.unique(found, return_inverse=True)
        labels = labels.reshape(found.shape)
        got = int(labels.max()) + 1
        if best is None or abs(got - count) < abs(int(best.max()) + 1 - count):
            best = labels
        low, high = (asked + 1, high) if got < count else (low, asked - 1)
    if best is None or best.max() < 1:  # a blank image has one super-pixel
        return grid_segments(image, count)
    return torch.from_numpy(best.astype(np.int64))


def grid_segments(image: Tensor, count: int) -> Tensor:
    """Rectangles, as square as `count` and the image (3, H, W) allow: (H, W) int64, 0 .. S - 1."""
    height, width = image.shape[1:]
    shapes = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    fitting = [(r, c) for r, c in shapes if r <= height and c <= width] or [(height, width)]
    rows, columns = min(fitting, key=lambda s: abs(np.log(height / s[0] / (width / s[1]))))
    y = torch.arange(height) * rows // height
    x = torch.arange(width) * columns // width
    return y[:, None] * columns + x


def overlay(image: Tensor, found: Localisation) -> Tensor:
    """The image (3, H, W) in [0, 1] under its contributions, uint8 (3, H, W).

    Red grows with W >= 0; the three largest are outlined in yellow, cyan and white.
    """
    grey = image.float().mean(dim=0, keepdim=True).expand(3, -1, -1) * 0.7 + image.float() * 0.3
    positive = found.contributions.clamp_min(0)
    heat = (positive / positive.max().clamp_min(1e-300))[found.segments].float() * 0.6
    red = torch.tensor(HEAT).view(3, 1, 1) / 255
    shown = to_uint8(grey * (1 - heat) + red * heat)
    for segment, colour in reversed(list(zip(found.top, CONTOURS, strict=False))):
        shown[:, _contour(found.segments == segment)] = torch.tensor(colour, dtype=torch.uint8)[
            :, None
        ]
    return shown


def magnified(image: Tensor, attacked: Tensor) -> Tensor:
    """What the attack changed, ten times as large around mid-grey, uint8 (3, H, W)."""
    return to_uint8((0.5 + MAGNIFIED * (attacked - image).float()).clamp(0, 1))


def _contour(inside: Tensor) -> Tensor:
    """The pixels (H, W) bool of a region that touch something else, or the border."""
    padded = torch.nn.functional.pad(inside, (1, 1, 1, 1))
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~around
