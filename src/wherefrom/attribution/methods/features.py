"""FLIPAD's features: the inverted activations of images, reduced for the detector.

FLIPAD, Section 4.3 and App. G.7: o = sigma^-1(x), final-layer inversion, max-pooling, channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.intervals import CLEAN_QUANTILE, pixel_intervals
from wherefrom.attribution.final_layer.lasso import Inversion, Inverter
from wherefrom.attribution.final_layer.window import Window, centre_window
from wherefrom.attribution.protocol import SavedScorer
from wherefrom.core.compute.passes import full_precision, in_passes
from wherefrom.core.progress import Track, quiet
from wherefrom.generators.generator import Generator
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.last_layer.output_map import OutputMap
from wherefrom.metrics.noise_level import noise_level


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Images (N, C, H, W) in [0, 1] -> features (N, K, h, w) or (N, K), float16.

    Numbers (N, C, 1, T), rows and signals, give (N, K).  They have units: with a `unit` every
    column of a row, or channel of a signal, counts in its own spread, and the layer is that of
    o / unit.

    Deviation: the paper knows no units; a column in milligrams would drown the others.

    Half precision keeps ten thousand sets of activations in memory; training and scoring see the
    same rounding.
    """

    last_layer: LastLayer
    output_map: OutputMap
    mean_activation: Tensor  # z_bar, (*input_shape)
    lasso: LassoConfig
    max_side: int
    channels: Tensor | None = None  # indices of the channels in use, int64; None: all
    window: Window | None = None  # what layer and mean are cut to; None: nothing is cut
    clean_noise: float = 0.0  # noise level that images of the model have before anybody alters them
    unit: Tensor | None = None  # (out channels,), what o and the layer have been divided by

    @classmethod
    def of(
        cls, generator: Generator, mean: Callable[[Window | None], Tensor], config: FlipadConfig
    ) -> Self:
        """The map of a generator with all channels; `mean` gives z_bar, or a window of it."""
        cut = centre_window(generator.last_layer, config.crop, config.halo)
        window, layer = (None, generator.last_layer) if cut is None else cut
        z_bar = mean(window)
        return cls(
            layer.to(z_bar.device),
            generator.output_map,
            z_bar,
            config.lasso,
            config.max_side,
            window=window,
        )

    def extract(self, images: Tensor, *, track: Track = quiet) -> Tensor:
        """Features of the images; those of an image do not depend on the others."""
        return in_passes(
            lambda part: self._reduce(self.invert(part).activations),
            images,
            size=self._inverter.rows,
            track=track,
            label="inverting the last layer",
        )

    def extract_with_costs(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, misfit and ||z - z_bar||_1 of the same inversion, one set per image."""

        def solved(part: Tensor) -> tuple[Tensor, ...]:
            inversion = self.invert(part)
            z = inversion.activations
            cost = (z - self.mean_activation).abs().flatten(1).double().sum(dim=1)
            return self._reduce(z), inversion.residual, cost

        features, misfit, cost = in_passes(solved, images, size=self._inverter.rows)
        return features, misfit, cost

    def invert(self, images: Tensor) -> Inversion:
        """The whole inversion of images (N, C, H, W) in [0, 1], with its certificate."""
        x = images.to(self.mean_activation)
        cut = (lambda o: o) if self.window is None else self.window.of_outputs
        if self.lasso.data == "square":
            o = self.output_map.inverse(x)
            if self.unit is not None:
                o = o / (self.unit if o.ndim == 2 else self.unit[:, None])  # rows, or signals
            return self._inverter.invert(cut(o))
        intervals = pixel_intervals(x, self.output_map).each(cut)
        budget = None
        if self.lasso.slack == "noise":
            added = (noise_level(images).square() - self.clean_noise**2).clamp_min(0).sqrt()
            budget = intervals.noise_budget(added)
        return self._inverter.invert_within(intervals, budget)

    def unexplained(self, image: Tensor) -> Tensor | None:
        """|x - sigma(G_L z + b)| in 8-bit levels, the largest over the colours, (H, W).

        `image` is (1, C, H, W) in [0, 1].  None with a window: its o is not that of a whole image.
        """
        if self.window is not None:
            return None
        z = self.invert(image).activations
        with full_precision(z.device):
            nearest = self.output_map.forward(self.last_layer.apply(z))
        return (255 * (nearest.cpu() - image)).abs().amax(dim=1)[0]

    def in_units_of(self, own: Tensor) -> Self:
        """The map in which columns or channels count in the spread of own samples (N, C, H, W)."""
        o = self.output_map.inverse(own.to(self.mean_activation))
        if self.last_layer.kind != "dense":  # one unit per channel of a signal
            o = o.movedim(1, -1).flatten(0, -2)
        unit = o.std(dim=0)
        unit = torch.where(unit > 0, unit, 1.0)
        return replace(self, unit=unit, last_layer=self.last_layer.divided(unit))

    def with_clean_noise(self, own: Tensor) -> Self:
        """The map with the (nearly highest) noise level of own images (N, C, H, W)."""
        level = torch.quantile(noise_level(own), CLEAN_QUANTILE)
        return replace(self, clean_noise=float(level))

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors."""
        tensors = {f"last_layer.{k}": v for k, v in self.last_layer.to_tensors().items()}
        tensors["mean_activation"] = self.mean_activation
        if self.channels is not None:
            tensors["channels"] = self.channels
        if self.unit is not None:
            tensors["unit"] = self.unit
        meta = {
            "last_layer": self.last_layer.to_meta(),
            "output_map": self.output_map.to_meta(),
            "window": None if self.window is None else self.window.to_meta(),
            "clean_noise": self.clean_noise,
        }
        return meta, tensors

    @classmethod
    def from_saved(cls, saved: SavedScorer) -> Self:
        """The inverse of `to_saved`."""
        meta, config = saved.meta, saved.config
        layer = saved.part("last_layer", config)
        names = {"mean_activation", "channels", "unit"} & saved.tensors.keys()
        tensors = {name: saved.tensors[name].to(saved.device) for name in names}
        return cls(
            LastLayer.from_saved(layer.meta, layer.tensors).to(saved.device),
            OutputMap.from_meta(meta["output_map"]),
            tensors["mean_activation"],
            config.lasso,
            config.max_side,
            tensors.get("channels"),
            None if meta["window"] is None else Window.from_meta(meta["window"]),
            float(meta["clean_noise"]),
            tensors.get("unit"),
        )

    @cached_property
    def _inverter(self) -> Inverter:
        return Inverter(self.last_layer, self.mean_activation, self.lasso)

    def _reduce(self, z: Tensor) -> Tensor:
        if self.window is not None:
            z = self.window.without_halo(z)
        if self.channels is not None:
            z = z[:, self.channels]
        if z.ndim > 2:
            z = pool_to(z, self.max_side)
        return z.flatten(1).half() if z.ndim == 3 else z.half()


def pool_to(z: Tensor, max_side: int) -> Tensor:
    """Max-pool (N, C, H, W) or (N, C, T) by 2 until no side is longer than `max_side`."""
    pool = F.max_pool2d if z.ndim == 4 else F.max_pool1d
    while max(z.shape[2:]) > max_side:
        z = pool(z, 2)
    return z


def select_channels(own: Tensor, others: Tensor, count: int) -> Tensor:
    """The `count` channels whose standardised means differ most, sorted, int64.  App. G.7.

    Features are (N, C, ...); means and deviations are per element, then averaged per channel.
    """
    mean, scale = own.float().mean(dim=0), own.float().std(dim=0) + 0.05
    difference = ((others.float().mean(dim=0) - mean) / scale).abs()
    per_channel = difference.reshape(len(difference), -1).mean(dim=1)
    return per_channel.topk(min(count, len(per_channel))).indices.sort().values
