"""Features of a fixed random convolutional network: no download, no training, any size from 8 px.

Naeem et al.: Reliable Fidelity and Diversity Metrics for Generative Models, ICML 2020, find that
random embeddings tell sets of images apart where ImageNet's do not fit them.  Distances on them
compare with each other only, never with those on Inception features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.rng import stream

NAME = "random-conv-1"  # a change of what follows is another name
WIDTHS = (16, 32, 64)
COARSE = 4  # side of the shrunk image that is appended
CHUNK = 64


@torch.no_grad()
def random_features(images: Tensor) -> Tensor:
    """(N, C, H, W) float in [0, 1], C = 1 or 3 -> (N, 272) float32, whatever the batch.

    Three stages of a random 3x3 convolution with ReLU and 2x2 averaging on the image in colour; of
    each stage the means and deviations of its channels; then the image at 4x4 px.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 8:
        raise InputError(
            f"images of shape {tuple(images.shape)}, expected (N, 1 or 3, H, W) from 8 px"
        )
    weights = [weight.to(images.device) for weight in _weights()]
    return in_passes(lambda x: _features(x, weights), images.float(), size=CHUNK)


def _features(x: Tensor, weights: list[Tensor]) -> Tensor:
    colour = x.expand(-1, 3, -1, -1)
    coarse = F.adaptive_avg_pool2d(colour, COARSE).flatten(1)
    h, statistics = 2 * colour - 1, []
    for weight in weights:
        h = F.avg_pool2d(torch.relu(F.conv2d(h, weight, padding=1)), 2)
        statistics += [h.mean(dim=(2, 3)), h.var(dim=(2, 3), unbiased=False).sqrt()]
    return torch.cat([*statistics, coarse], dim=1)


def _weights() -> list[Tensor]:
    rng = stream(0, NAME)
    sizes = zip((3, *WIDTHS), WIDTHS, strict=False)
    return [torch.randn(b, a, 3, 3, generator=rng) * (2 / (9 * a)) ** 0.5 for a, b in sizes]
