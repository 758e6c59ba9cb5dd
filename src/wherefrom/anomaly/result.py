"""Scores per image.  Larger AS-i = less natural, where the feature model follows the assumption."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.encoders.identity import EncoderIdentity


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Complexity and vulnerability of N images, in the order in which they were given.

    Real images are expected to have the higher complexity and the lower vulnerability; whether they
    do depends on the feature model (`check_assumption`).
    """

    complexity: Tensor  # C, (N,) float64, radians
    complexity_error: Tensor  # its standard error over the directions; NaN with one direction
    vulnerability: Tensor  # V, (N,) float64, in units of the features; NaN where not asked for
    vulnerability_error: Tensor  # its standard error over the restarts; NaN with one restart
    features: Tensor  # M(x), (N, D) float32
    names: tuple[str, ...]
    digests: tuple[str, ...]  # of the files' bytes, or of the pixels where no file was given
    skipped: tuple[tuple[str, str], ...]  # name and reason of every other image
    directions: Tensor  # R that each complexity rests on, (N,) int64
    still: Tensor  # share of steps that moved no feature, (N,) float64; they have no angle
    clipped: Tensor  # share of values at 0 or 1, where a noise step is cut short, (N,) float64
    encoder: EncoderIdentity
    config: AnomalyConfig
    seed: int

    @property
    def as_i(self) -> Tensor:
        """AS-i = V / C per image, (N,) float64."""
        return self.vulnerability / self.complexity

    @property
    def as_i_error(self) -> Tensor:
        """Standard error of AS-i to first order, from those of C and V, (N,) float64."""
        relative = torch.hypot(
            self.complexity_error / self.complexity, self.vulnerability_error / self.vulnerability
        )
        return self.as_i * relative

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: Tensor | list[int]) -> ImageScores:
        """The images at these places (indices, int64), with `skipped` as it is."""
        at = torch.as_tensor(rows, dtype=torch.int64)
        columns: dict[str, Any] = {name: getattr(self, name)[at] for name in COLUMNS}
        columns["names"] = tuple(self.names[i] for i in at.tolist())
        columns["digests"] = tuple(self.digests[i] for i in at.tolist())
        return replace(self, **columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the features; NaN becomes None."""
        rows = [
            {
                "name": name,
                "digest": digest,
                "as_i": _number(self.as_i[i]),
                **{column: _number(getattr(self, column)[i]) for column in SHOWN},
            }
            for i, (name, digest) in enumerate(zip(self.names, self.digests, strict=True))
        ]
        return {
            "images": rows,
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "encoder": self.encoder.to_dict(),
            "config": self.config.to_dict(),
            "seed": self.seed,
        }


SHOWN = (
    "complexity",
    "complexity_error",
    "vulnerability",
    "vulnerability_error",
    "directions",
    "still",
    "clipped",
)
COLUMNS = (*SHOWN, "features")


def _number(value: Tensor) -> float | int | None:
    number = value.item()
    return number if number == number else None  # noqa: PLR0124 (NaN alone differs from itself)
