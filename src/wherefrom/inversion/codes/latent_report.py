"""The spectrum of v as an estimate of intrinsic dimension, and codes cut to the live dimensions.

In DLSGAN (Cho, PhD thesis, 2025, Section 3.2) v splits: some dimensions carry the image, the rest a
floor, and little lies between.  The thesis does not use the gap; this module does.

Symbols:
    v       trace, sorted from large to small
    live    the dimensions above the largest gap of log v
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import image_grid, to_float, to_uint8
from wherefrom.inversion.equations import MIN_VARIANCE, latent_entropy
from wherefrom.inversion.model import FittedInverter
from wherefrom.metrics.image_quality import psnr

DEAD = 1e-3  # share of the largest value up to which a dimension is dead
CLEAR_GAP = 2.0  # a smaller ratio is no gap: a smooth spectrum has its largest ratio somewhere too
PART = 256  # images that are decoded at once
TRAVERSED = 2.0  # deviations to both sides, as in Fig. 23-25


@dataclass(frozen=True)
class LatentReport:
    """The spectrum of v of a trained code, and what is derived from it."""

    spectrum: tuple[float, ...]  # v, largest first
    order: tuple[int, ...]  # the dimensions in that order
    live: int  # dimensions above the gap; all of them where there is no clear gap
    gap: float  # ratio of v just above to just below it; 1 for a single dimension
    clear: bool  # whether that ratio is at least CLEAR_GAP
    effective: float  # (sum v)^2 / sum v^2
    entropy: float  # of Z o s in nats
    pruned: tuple[tuple[int, float], ...]  # dimensions kept, mean PSNR in dB of what comes back

    @property
    def live_dimensions(self) -> tuple[int, ...]:
        """Which dimensions live, the most informative first."""
        return self.order[: self.live]

    def to_dict(self) -> dict[str, Any]:
        return {
            "live": self.live,
            "of": len(self.spectrum),
            "gap": self.gap,
            "clear_gap": self.clear,
            "effective_dimension": self.effective,
            "entropy": self.entropy,
            "live_dimensions": list(self.live_dimensions),
            "spectrum": list(self.spectrum),
            "pruned": [{"kept": k, "psnr": p} for k, p in self.pruned],
        }


def report_latents(
    fitted: FittedInverter, images: Tensor | None = None, *, keep: Sequence[int] = ()
) -> LatentReport:
    """The spectrum; with images also the PSNR of codes cut to their first k dimensions.

    k runs over `keep`, the live dimensions and all of them.
    """
    if fitted.networks.inverter is None:
        raise InputError(f"{fitted.config.method} has no code to report on")
    v = fitted.trace.double().cpu()
    order = torch.argsort(v, descending=True, stable=True)
    spectrum = v[order]
    live, gap = largest_gap(spectrum)
    clear = gap >= CLEAR_GAP
    live = live if clear else len(v)
    counts = sorted({*keep, live, len(v)})
    if counts[0] < 1 or counts[-1] > len(v):
        raise InputError(f"codes cut to {counts[0]}; choose 1 to {len(v)} dimensions")
    measured = [] if images is None else _pruning(fitted, images, order, counts)
    scale = fitted.scale.double().clamp_min(MIN_VARIANCE)
    return LatentReport(
        tuple(spectrum.tolist()),
        tuple(order.tolist()),
        live,
        gap,
        clear,
        float(v.sum().square() / v.square().sum().clamp_min(MIN_VARIANCE)),
        float(latent_entropy(scale, fitted.config.latents)),
        tuple(measured),
    )


def largest_gap(spectrum: Tensor) -> tuple[int, float]:
    """How many values of a falling spectrum lie above its largest ratio, and that ratio.

    Values below `DEAD` of the largest count as that: a single dead dimension, whose value may be
    smaller than the others by any factor, must not hide the gap between live ones and weak ones.
    """
    if len(spectrum) < 2:
        return len(spectrum), 1.0
    floor = max(MIN_VARIANCE, DEAD * float(spectrum[0]))
    steps = -spectrum.clamp_min(floor).log().diff()
    place = int(steps.argmax())
    return place + 1, float(steps[place].exp())


def pruned_codes(fitted: FittedInverter, codes: Tensor, dimensions: Sequence[int]) -> Tensor:
    """The codes with every other dimension at its mean, (N, d_z)."""
    chosen = torch.zeros(codes.shape[1], dtype=torch.bool, device=codes.device)
    chosen[list(dimensions)] = True
    return torch.where(chosen, codes, fitted.mean.to(codes.device))


def traversal_sheet(
    fitted: FittedInverter,
    dimensions: Sequence[int],
    *,
    steps: int = 9,
    start: Tensor | None = None,
) -> Tensor:
    """A row per dimension, moved from -2 to 2 of its deviations: uint8 (C, H, W).  Fig. 23-25.

    The other dimensions stay at `start`, a code (d_z,), or at their mean; a generator of classes
    shows the likeliest one.
    """
    if steps < 2 or not dimensions:
        raise InputError("a traversal needs at least 2 steps and 1 dimension")
    base = (fitted.mean if start is None else start).to(fitted.device)
    rows = []
    for dimension in dimensions:
        codes = base.repeat(steps, 1)
        span = torch.linspace(-TRAVERSED, TRAVERSED, steps, device=fitted.device)
        codes[:, dimension] = fitted.mean[dimension] + span * fitted.trace[dimension].sqrt()
        rows.append(codes)
    codes = torch.cat(rows)
    labels = None
    if fitted.needs_classes:
        labels = fitted.prior.argmax(dim=1).expand(len(codes), -1)
    return image_grid(to_uint8(fitted.decode(codes, labels)).cpu(), steps)


def _pruning(
    fitted: FittedInverter, images: Tensor, order: Tensor, counts: Sequence[int]
) -> list[tuple[int, float]]:
    codes, labels = fitted.encode(images), fitted.likeliest(images)
    measured = []
    for count in counts:
        cut = pruned_codes(fitted, codes, order[:count].tolist())
        decibels = []
        for part in torch.split(torch.arange(len(images)), PART):
            recovered = fitted.decode(cut[part], None if labels is None else labels[part])
            x = images[part]
            x = to_float(x) if x.dtype == torch.uint8 else x.float()
            decibels.append(psnr(x, recovered.to(x.device)))
        measured.append((count, float(torch.cat(decibels).mean())))
    return measured
