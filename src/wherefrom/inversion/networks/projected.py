"""A critic that knows images already: trained heads on the maps of a fixed pretrained network.

Sauer, Chitta, Müller, Geiger: Projected GANs Converge Faster, NeurIPS 2021.  The fixed network is
EfficientNet-Lite0.  Its maps at four depths are mixed by fixed random convolutions, first across
channels (1x1), then from deep to shallow across scales (3x3); each mixed map has a small head with
spectral normalisation.

Deviation: the heads end in features, not in scores, so that the code and the classes of the thesis
are read from them too; one dense layer sums the scores of all depths.
Deviation: the paper shrinks maps until one score per place is left; here each is averaged to 4 x 4
cells, which keep the layout that codes need.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from wherefrom.core.errors import InputError
from wherefrom.encoders.efficientnet import load_layer_moments
from wherefrom.inversion.networks.layers import HALF, leaky

MIN_SIDE = 64  # smaller images are enlarged: five halvings leave 2 x 2 places
DEPTHS = (0, 1, 3, 4)  # of `LayerMoments.maps`: strides 4, 8, 16 and 32
CELLS = 4  # side of the map that a head ends with


class ProjectedCritic(nn.Module):
    """Images (N, C, S, S) in [-1, 1] -> (N, F), by fixed features, fixed mixing, trained heads.

    `width`: channels of mixed maps and heads.  The fixed network is no part of what is trained or
    saved; `MissingExtraError` where its package is missing.
    """

    def __init__(self, shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        side = max(shape[1], MIN_SIDE)
        # In a tuple, so that it is no submodule: it has no optimiser, average or checkpoint.
        network: Any = load_layer_moments(side).module
        self._fixed = (network.requires_grad_(False),)
        counts = [maps.shape[1] for maps in self._maps(torch.zeros(1, *shape))]
        self.channels = nn.ModuleList(_fixed_mixing(count, width, 1) for count in counts)
        self.scales = nn.ModuleList(_fixed_mixing(width, width, 3) for _ in counts)
        self.heads = nn.ModuleList(ProjectedHead(width) for _ in counts)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, 4 * 16 * width)."""
        mixed: list[Tensor] = []
        for depth in reversed(range(len(DEPTHS))):
            if not mixed:
                maps = self._maps(x)
            h = self.channels[depth](maps[depth])
            if mixed:
                deeper = F.interpolate(mixed[-1], h.shape[-2:], mode="bilinear")
                h = (h + deeper) * HALF
            mixed.append(self.scales[depth](h))
        read = [head(h) for head, h in zip(self.heads, reversed(mixed), strict=True)]
        return torch.cat(read, dim=1)

    def _maps(self, x: Tensor) -> list[Tensor]:
        fixed = self._fixed[0].to(x.device)
        x = (x + 1) / 2
        maps = fixed.network.maps(fixed.prepared(x.expand(-1, 3, -1, -1)))
        return [maps[depth] for depth in DEPTHS]


class ProjectedHead(nn.Module):
    """Two convolutions with spectral normalisation around an average over 4 x 4 cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, 16 * width)."""
        h = F.adaptive_avg_pool2d(leaky(self.first(x)), CELLS)
        return leaky(self.second(h)).flatten(1)


def refuse_projected(shape: tuple[int, ...], *, batch_deviation: bool) -> None:
    """An `InputError` for data or settings that the projected critic cannot have."""
    if len(shape) != 3:
        raise InputError("the critic 'projected' takes images, not vectors; choose plain")
    if batch_deviation:
        raise InputError("the critic 'projected' does not see its batch; leave out batch_deviation")


def _fixed_mixing(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps variances, whose random weights are saved but never trained."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    weight = torch.randn_like(layer.weight) * layer.weight[0].numel() ** -0.5
    del layer.weight
    layer.register_buffer("weight", weight)
    return layer
