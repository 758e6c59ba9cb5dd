"""The interval of pre-activations that an 8-bit pixel stands for, and its weight.

A level v stands for every value in [v - 1/2, v + 1/2] / 255.  Through sigma^-1 that is an interval
of o: narrow in the middle of the range, wide where sigma flattens (for tanh as 1 / (1 - x^2)),
and open on one side for a pixel at the end of the range, where any larger |o| gives the same pixel.

Symbols:
    v       level, 0 to 255
    low, high   ends of the interval of o, (N, *output_shape); -inf or inf where it is open
    w       sigma'(o) over its value at mid-grey, at most 1: what one unit of o is worth in x
    s       standard deviation of the noise of an image, in [0, 1]

Deviation: the paper holds o = sigma^-1(x) itself against G_L(z), each element with weight 1; a
saturated pixel, whose o is hardly known, then weighs as much as a grey one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.generators.last_layer.output_map import OutputMap

HALF = 0.5 / 255
CLEAN_QUANTILE = 0.95  # of the noise of own images: the noise of an image that nobody altered


@dataclass(frozen=True, eq=False)
class Intervals:
    """Intervals of o and their weights; `steepness` is sigma' at mid-grey, per unit of image."""

    low: Tensor
    high: Tensor
    weight: Tensor
    steepness: float

    def each(self, change: Callable[[Tensor], Tensor]) -> Intervals:
        """Low, high and weight rearranged or cut alike."""
        low, high, weight = map(change, (self.low, self.high, self.weight))
        return Intervals(low, high, weight, self.steepness)

    def noise_budget(self, noise: Tensor) -> Tensor:
        """Expected misfit || w d ||^2 of the truth under noise of deviation s (N,), (N,) float64.

        A pixel that is off by n lies max(|n| - half a level, 0) outside its interval.  Clipped
        pixels are left out of the count: most of them stay clipped.
        """
        inner = (torch.isfinite(self.low) & torch.isfinite(self.high)).flatten(1)
        per_pixel = excess_variance(noise.double().cpu(), HALF) / self.steepness**2
        return inner.sum(dim=1, dtype=torch.float64) * per_pixel.to(self.low.device)


def excess_variance(s: Tensor, h: float) -> Tensor:
    """E max(|n| - h, 0)^2 for n ~ N(0, s^2): 2 (s^2 + h^2) Q(h / s) - 2 h s phi(h / s)."""
    safe = s.clamp_min(1e-12)
    t = h / safe
    tail = 0.5 * torch.erfc(t / 2**0.5)
    density = torch.exp(-t.square() / 2) / (2 * torch.pi) ** 0.5
    excess = 2 * (safe.square() + h * h) * tail - 2 * h * safe * density
    return torch.where(s > 0, excess.clamp_min(0), 0.0)


def pixel_intervals(images: Tensor, output_map: OutputMap) -> Intervals:
    """Intervals of o for images (N, C, H, W), 8-bit levels over 255, in their dtype and device."""
    below, above = output_map.inverse(images - HALF), output_map.inverse(images + HALF)
    low, high = torch.minimum(below, above), torch.maximum(below, above)
    centre = output_map.inverse(images)
    black, dark, grey, light, white = (
        output_map.inverse(images.new_full((1, *images.shape[1:]), value))
        for value in (0.0, HALF, 0.5, 1 - HALF, 1.0)
    )
    rises = white > black
    for end, inner, opens_up in ((black, dark, ~rises), (white, light, rises)):
        # Level 0 lies beyond the inner end of its own interval, level 1 does not.
        outside = (centre - inner) * (end - inner).sign() > 0
        low = torch.where(outside, torch.where(opens_up, inner, -torch.inf), low)
        high = torch.where(outside, torch.where(opens_up, torch.inf, inner), high)
        centre = torch.where(outside, inner, centre)
    steepness = float(_slope(grey, output_map).max())
    weight = (_slope(centre, output_map) / steepness).clamp(1e-6, 1.0)
    return Intervals(low, high, weight, steepness)


def _slope(o: Tensor, output_map: OutputMap) -> Tensor:
    """|d image / d o|, element by element; no step after the last layer mixes elements."""
    low, high = output_map.value_range
    with torch.enable_grad():
        leaf = o.detach().requires_grad_()
        image = output_map.to_output(leaf).sum() / (high - low)
    return torch.autograd.grad(image, leaf)[0].abs()
