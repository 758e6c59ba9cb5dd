"""Moves codes so that their images are reconstructed better, and measures the lost likelihood.

Not in the thesis, whose encoder needs one pass.  Symbols as in `model`; u = (z - mu) / sqrt v,
the standardised code.

The most probable code of an image x whose pixels have normal noise of deviation `noise`:

    minimise over z   || x - G(z o s) ||^2 / (2 noise^2)  -  log N(z; mu, v)

by Adam on u from E(x).  The best code on the way is kept, so the objective never rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.inversion.codes.reconstruction import EQUAL_PSNR, Reconstruction, compare
from wherefrom.inversion.equations import MIN_VARIANCE
from wherefrom.inversion.model import PASS_ROWS, FittedInverter


@dataclass(frozen=True, kw_only=True)
class RefinementConfig(Config):
    """Settings of `refine`."""

    steps: int = setting(50, "steps of Adam", low=0)
    learning_rate: float = setting(0.05, "Adam's step on the standardised code", low=1e-6)
    noise: float = setting(
        0.1, "deviation of pixels in [0, 1]; larger keeps the code likelier", low=1e-6
    )


@dataclass(frozen=True, eq=False)
class Refinement:
    """Images before and after.  A larger negative log-likelihood is less likely."""

    before: Reconstruction
    after: Reconstruction
    codes: Tensor  # (N, d_z)
    nll_before: Tensor  # (N,) float64
    nll_after: Tensor  # (N,) float64
    config: RefinementConfig

    @property
    def psnr_gained(self) -> Tensor:
        """dB per image, (N,); an image that comes back exactly counts as 1,000 dB."""
        return self.after.psnr.clamp_max(EQUAL_PSNR) - self.before.psnr.clamp_max(EQUAL_PSNR)

    @property
    def likelihood_lost(self) -> Tensor:
        """Nats per image, (N,): how much less likely the code became; below 0 it became likelier.

        A code that was shorter than typical gains by moving, one that was typical loses.
        """
        return self.nll_after - self.nll_before

    def grid(self, columns: int = 8) -> Tensor:
        """Pairs side by side, uint8 (C, H, W): an image, then what came back after the steps."""
        return self.after.grid(columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: those of the result, and what the steps changed."""
        values = self.after.to_dict()
        changes = zip(self.psnr_gained.tolist(), self.likelihood_lost.tolist(), strict=True)
        for row, (gained, lost) in zip(values["images"], changes, strict=True):
            row |= {"psnr_gained": gained, "nats_lost": lost}
        finite = self.psnr_gained.isfinite() & self.likelihood_lost.to(self.psnr_gained).isfinite()
        known = bool(finite.any())
        return {
            **values,
            "mean_psnr_gained": float(self.psnr_gained[finite].mean()) if known else None,
            "mean_nats_lost": float(self.likelihood_lost[finite.cpu()].mean()) if known else None,
            "refinement": self.config.to_dict(),
        }


def refine(
    fitted: FittedInverter,
    images: Tensor,
    *,
    names: Sequence[str] | None = None,
    config: RefinementConfig | None = None,
    track: Track = quiet,
) -> Refinement:
    """Refine the codes of images (N, C, S, S) in [0, 1].  No image depends on the others."""
    config = config or RefinementConfig()
    generator = fitted.networks.generator
    if not len(images):
        raise InputError("no image to reconstruct")
    if generator is None or fitted.networks.inverter is None:
        raise InputError(f"{fitted.config.method} cannot reconstruct; train dlsgan or pvdgan")
    first, labels = fitted.encode(images), fitted.likeliest(images)
    given = [images.to(fitted.device, torch.float32), first]
    if labels is not None:
        given.append(fitted.one_hot(labels))
    codes = in_passes(
        lambda x, z, c=None: _refined(fitted, x, z, c, config),
        *given,
        size=PASS_ROWS,
        track=track,
        label="refining codes",
    )

    before, after = (compare(images, fitted.decode(z, labels), names) for z in (first, codes))
    return Refinement(
        before=before,
        after=after,
        codes=codes,
        nll_before=fitted.negative_log_likelihood(first).cpu(),
        nll_after=fitted.negative_log_likelihood(codes).cpu(),
        config=config,
    )


def _refined(
    fitted: FittedInverter, x: Tensor, z: Tensor, c: Tensor | None, config: RefinementConfig
) -> Tensor:
    """The best codes of the images of one pass, none of which sees the others."""
    deviation = fitted.trace.clamp_min(MIN_VARIANCE).sqrt()
    u = ((z - fitted.mean) / deviation).requires_grad_(True)
    adam = torch.optim.Adam([u], lr=config.learning_rate)
    best, least = u.detach().clone(), torch.full((len(x),), torch.inf, device=x.device)
    with torch.enable_grad():
        for step in range(config.steps + 1):
            decoded = fitted.generate((fitted.mean + u * deviation) * fitted.scale, c)
            errors = (decoded - x).square().flatten(1).sum(dim=1) / (2 * config.noise**2)
            objective = errors + 0.5 * u.square().sum(dim=1)
            now = objective.detach()
            better = now < least
            best[better], least[better] = u.detach()[better], now[better]
            if step < config.steps:
                (u.grad,) = torch.autograd.grad(objective.sum(), [u])
                adam.step()
    return fitted.mean + best * deviation
