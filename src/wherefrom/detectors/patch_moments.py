"""Second moments of whitened patches, and one linear function of them: fitted in closed form.

A last layer leaves its trace in how the values of a small patch vary together, above all in the
directions in which they hardly vary.  Whitening gives these directions the weight of the others.

Symbols:
    x    inputs, (N, C, H, W) float
    p    a patch of x as a vector, in one of the views of `SCALES`
    w    its whitened form R (p - m), cut at +-LIMIT; R and m are those of inliers
    f    features of an input: per view, the means over its patches of w w' (upper triangle), w and
         |w|, and the root of the mean of w^4
    y    -1 inlier, 1 negative

Equation (ridge regression; Hoerl and Kennard 1970), with f standardised and cut:

    min over b, c of  sum_i v_i (b' f_i + c - y_i)^2 + PENALTY |b|^2

The weights v give the inliers as much as all negatives, and every kind of negative the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet

LIMIT = 20.0  # in deviations: one odd pixel is no moment
ROUNDING = 1e-3  # added to the patch variances: a few 8-bit steps through tanh
FEATURE_LIMIT = 10.0  # in deviations
PENALTY = 1e-3
WHITENING_INPUTS = 1000
ROWS = 32  # inputs per pass
MIN_SIDE = 16


@dataclass(frozen=True)
class View:
    """How patches are cut."""

    side: int
    stride: int
    averaged: int = 1  # x is averaged over squares of this side first
    grey: bool = False  # the mean of the channels instead of all

    def patches(self, x: Tensor) -> Tensor:
        """Patches of x (N, C, H, W), (N, places, values)."""
        if self.grey:
            x = x.mean(dim=1, keepdim=True)
        if self.averaged > 1:
            x = F.avg_pool2d(x, self.averaged)
        padding = self.side // 2 - 1
        return F.unfold(x, self.side, stride=self.stride, padding=padding).transpose(1, 2)


ONE_CHANNEL = (View(6, 2), View(6, 1, averaged=2))
# All channels of a large patch have too many moments: colour is seen close, brightness from afar.
COLOUR = (View(4, 2), View(6, 2, grey=True), View(6, 1, averaged=2, grey=True))


@dataclass(frozen=True, eq=False)
class FittedPatchMoments:
    """The linear function and what comes before it.  Larger score = more like the negatives."""

    kind: ClassVar[str] = "detectors/patch-moments"
    channels: int
    whitening: tuple[tuple[Tensor, Tensor], ...]  # m (d,) and R (d, d) per view, float32
    mean: Tensor  # (F,) of the features, float32
    scale: Tensor  # (F,)
    weights: Tensor  # b, (F,)
    offset: float  # c

    def score(self, x: Tensor, *, track: Track = quiet) -> Tensor:
        """b' f + c per input, (N,) float64, whatever batch x (N, C, H, W) comes in."""
        _check(x, self.channels)
        return in_passes(self._score, x, size=ROWS, track=track, label="measuring patches")

    def _score(self, x: Tensor) -> Tensor:
        f = _features(x.float(), self.whitening)
        f = ((f - self.mean) / self.scale).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        return f.double() @ self.weights.double() + self.offset

    def to(self, device: torch.device | str) -> FittedPatchMoments:
        """The same function on another device."""
        return type(self).from_saved(*self.to_saved(), device)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors; `from_saved` takes both."""
        tensors = {"mean": self.mean, "scale": self.scale, "weights": self.weights}
        for index, (mean, rows) in enumerate(self.whitening):
            tensors |= {f"{index}.mean": mean, f"{index}.rows": rows}
        return {"channels": self.channels, "offset": self.offset}, tensors

    @classmethod
    def from_saved(
        cls,
        meta: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
    ) -> Self:
        """The inverse of `to_saved`."""
        channels = int(meta["channels"])
        moved = {key: value.to(device) for key, value in tensors.items()}
        whitening = tuple(
            (moved[f"{index}.mean"], moved[f"{index}.rows"])
            for index in range(len(_views(channels)))
        )
        mean, scale, weights = (moved[name] for name in ("mean", "scale", "weights"))
        return cls(channels, whitening, mean, scale, weights, float(meta["offset"]))


def fit_patch_moments(
    own: Tensor, negatives: Sequence[Tensor], *, track: Track = quiet
) -> FittedPatchMoments:
    """Fit on inliers (N, C, H, W) and one tensor (M, C, H, W) of each kind of negative.

    Deterministic: there is nothing to draw.
    """
    for x in (own, *negatives):
        _check(x, own.shape[1])
    if len(own) < 2 or not negatives or min(map(len, negatives)) < 1:
        raise InputError("patch moments need two inliers and a negative of each kind")
    whitening = tuple(
        _whitening(view.patches(own[:WHITENING_INPUTS].float())) for view in _views(own.shape[1])
    )
    features = [
        in_passes(
            lambda part: _features(part.float(), whitening),
            x,
            size=ROWS,
            track=track,
            label="measuring patches",
        )
        for x in (own, *negatives)
    ]
    f = torch.cat(features)
    mean, scale = f.mean(dim=0), f.std(dim=0) + 1e-6
    z = ((f - mean) / scale).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
    y = torch.ones(len(z), device=z.device)
    y[: len(own)] = -1
    shares = [1.0, *([1 / len(negatives)] * len(negatives))]
    v = torch.cat(
        [y.new_full((len(x),), s / len(x)) for x, s in zip(features, shares, strict=True)]
    )
    v = v / v.sum()
    centre, level = v @ z, v @ y
    z = z - centre
    weighted = z * v[:, None]
    normal = (weighted.T @ z).double()
    normal.diagonal().add_(PENALTY)
    weights = torch.linalg.solve(normal, (weighted.T @ (y - level)).double())
    offset = float(level) - float(centre.double() @ weights)
    return FittedPatchMoments(own.shape[1], whitening, mean, scale, weights.float(), offset)


def _views(channels: int) -> tuple[View, ...]:
    return ONE_CHANNEL if channels == 1 else COLOUR


def _whitening(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and projection on principal components, each divided by its deviation."""
    flat = patches.flatten(0, 1).double()
    mean = flat.mean(dim=0)
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat) - torch.outer(mean, mean))
    return mean.float(), (vectors / (values.clamp_min(0) + ROUNDING).sqrt()).T.float().contiguous()


def _features(x: Tensor, whitening: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    parts = []
    for view, (mean, rows) in zip(_views(x.shape[1]), whitening, strict=True):
        w = ((view.patches(x) - mean) @ rows.T).clamp(-LIMIT, LIMIT)
        second = w.transpose(1, 2) @ w / w.shape[1]
        i, j = torch.triu_indices(w.shape[2], w.shape[2])
        fourth = w.pow(4).mean(dim=1).sqrt()
        parts += [second[:, i, j], w.mean(dim=1), w.abs().mean(dim=1), fourth]
    return torch.cat(parts, dim=1)


def _check(x: Tensor, channels: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels or min(x.shape[2:]) < MIN_SIDE:
        raise InputError(
            f"inputs of shape {tuple(x.shape)}, expected (N, {channels}, H, W) of at least "
            f"{MIN_SIDE}x{MIN_SIDE}"
        )
