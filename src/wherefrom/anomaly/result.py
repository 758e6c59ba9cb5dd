"""Scores per image.  Larger AS-i = less natural, if the feature model fits (`check_assumption`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.core.saving.json_text import finite
from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.encoders.encoder import EncoderIdentity


@dataclass(frozen=True, eq=False)
class ImageScores(AsTable):
    """Complexity and vulnerability of N images, in the order in which the images were given.

    Real images are expected to have the higher complexity and the lower vulnerability; whether they
    do depends on the feature model (`check_assumption`).
    """

    IMAGE = "name"

    complexity: Tensor  # C, (N,) float64, radians
    complexity_error: Tensor  # its standard error over the directions; NaN with one direction
    vulnerability: Tensor  # V, (N,) float64, in units of the features; NaN where not asked for
    vulnerability_error: Tensor  # its standard error over the restarts; NaN with one restart
    features: Tensor  # M(x), (N, D) float32
    names: tuple[str, ...]
    digests: tuple[str, ...]  # of the files' bytes, or of the pixels where no file was given
    skipped: tuple[SkippedFile, ...]  # every other file, with the reason
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
        """Everything but the features, as JSON values; NaN becomes None."""
        columns = {"as_i": self.as_i, **{name: getattr(self, name) for name in SHOWN}}
        rows = [
            {
                "name": name,
                "digest": self.digests[i],
                **{column: finite(values[i].item()) for column, values in columns.items()},
            }
            for i, name in enumerate(self.names)
        ]
        return {
            "images": rows,
            "skipped": [file.to_dict() for file in self.skipped],
            "encoder": self.encoder.to_dict(),
            "config": self.config.to_dict(),
            "seed": self.seed,
        }

    def as_table(self) -> tuple[Rows, str]:
        return self.to_dict()["images"], "Complexity and vulnerability"


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
