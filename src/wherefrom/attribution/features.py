"""From images to the features that the detector sees: FLIPAD's inverted activations.

FLIPAD, Section 4.3 and App. G.7: o = sigma^-1(x), final-layer inversion, max-pooling, channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.lasso import Inverter, LassoConfig
from wherefrom.core.progress import Track, quiet
from wherefrom.generators.last_layer import LastLayer
from wherefrom.generators.output_map import OutputMap


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Images (N, C, H, W) in [0, 1] -> features (N, K, h, w) or (N, K), float16.

    Half precision keeps ten thousand sets of activations in memory; training and scoring see the
    same rounding.
    """

    last_layer: LastLayer
    output_map: OutputMap
    mean_activation: Tensor  # z_bar, (*input_shape)
    lasso: LassoConfig
    max_side: int
    channels: Tensor | None  # indices of the channels kept, int64; None: all

    def extract(self, images: Tensor, *, track: Track = quiet) -> Tensor:
        """Features of the images, one set per image whatever its neighbours."""
        target = self.output_map.inverse(images.to(self.mean_activation))
        parts = [
            self._reduce(self._inverter.invert(part).activations)
            for part in track(torch.split(target, self.lasso.chunk), "inverting", total=None)
        ]
        return torch.cat(parts)

    @cached_property
    def _inverter(self) -> Inverter:
        return Inverter(self.last_layer, self.mean_activation, self.lasso)

    def _reduce(self, z: Tensor) -> Tensor:
        if self.channels is not None:
            z = z[:, self.channels]
        if z.ndim == 4:
            z = pool_to(z, self.max_side)
        return z.half()


def pool_to(z: Tensor, max_side: int) -> Tensor:
    """Max-pool (N, C, H, W) by 2 until no side is longer than `max_side`."""
    while max(z.shape[-2:]) > max_side:
        z = F.max_pool2d(z, 2)
    return z


def select_channels(own: Tensor, others: Tensor, count: int) -> Tensor:
    """The `count` channels whose standardised means differ most, sorted, int64.  App. G.7.

    Features are (N, C, ...); means and deviations are per element, then averaged per channel.
    """
    mean, scale = own.float().mean(dim=0), own.float().std(dim=0) + 0.05
    difference = ((others.float().mean(dim=0) - mean) / scale).abs()
    per_channel = difference.reshape(len(difference), -1).mean(dim=1)
    return per_channel.topk(min(count, len(per_channel))).indices.sort().values
