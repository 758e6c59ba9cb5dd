"""An edit as one picture."""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.data.writing import image_grid, to_uint8
from wherefrom.inversion.codes.editing import Edit


def strip(image: Tensor, edit: Edit) -> Tensor:
    """The image (C, S, S), what comes back of it, then every edit: uint8 (C, S, W)."""
    shown = torch.cat([image[None].cpu(), edit.recovered[None].cpu(), edit.images.cpu()])
    return image_grid(to_uint8(shown), len(shown))
