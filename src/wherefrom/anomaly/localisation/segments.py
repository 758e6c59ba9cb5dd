"""Segments of an image: super-pixels, or rectangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.optional import need

COMPACTNESS = 10.0


def need_slic() -> Any:
    """The module of scikit-image that has SLIC; a `MissingExtraError` if it is not installed."""
    purpose = "segmentation 'slic' of heat maps"
    return need("skimage.segmentation", purpose, extra="anomaly", called="scikit-image")


def slic_segments(image: Tensor, count: int) -> Tensor:
    """Super-pixels of an image (3, H, W) in [0, 1]: (H, W) int64, 0 .. S - 1, S close to `count`.

    SLIC gives fewer segments than requested, so the number to request is searched.
    `MissingExtraError` without scikit-image.
    """
    slic = need_slic().slic
    pixels = image.permute(1, 2, 0).double().cpu().numpy()
    best, low, high = None, count, 4 * count
    while low <= high:
        requested = (low + high) // 2
        numbered = slic(pixels, n_segments=requested, compactness=COMPACTNESS, start_label=0)
        _, labels = np.unique(numbered, return_inverse=True)
        labels = labels.reshape(numbered.shape)
        got = int(labels.max()) + 1
        if best is None or abs(got - count) < abs(int(best.max()) + 1 - count):
            best = labels
        low, high = (requested + 1, high) if got < count else (low, requested - 1)
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
