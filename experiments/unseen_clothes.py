"""Real clothes that no generator of the zoo was trained on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from wherefrom.data import load_training_images

UNSEEN = (40_000, 60_000)  # training images of Fashion-MNIST; the zoo's models saw the others
SIDE = 32


def unseen_clothes(folder: Path) -> tuple[Tensor, str]:
    """Distinct images, uint8 (N, 1, 32, 32), and the digest of what was read.

    `folder` holds Fashion-MNIST's idx files as they are published.
    """
    path = folder / "train-images-idx3-ubyte.gz"
    loaded = load_training_images(path, size=SIDE, channels=1, span=UNSEEN)
    return torch.unique(loaded.images, dim=0), loaded.digest
