"""The judgement of each image.  Smaller p-value = less like the user's real images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.images.notebook import AsTable, Rows

NAMES = {
    "as_i": "AS-i",
    "vulnerability": "its vulnerability",
    "joint": "its distance from the real images' (C, V)",
}


@dataclass(frozen=True, kw_only=True)
class ImageJudgement:
    """One image ranked among held-out real ones."""

    name: str
    digest: str
    complexity: float
    vulnerability: float
    as_i: float
    p_as_i: float
    p_vulnerability: float
    p_joint: float
    p_value: float  # of the score that decides
    flagged: bool
    reason: str

    @property
    def percentile(self) -> float:
        """Percent of real images that score lower: 100 (1 - p)."""
        return 100 * (1 - self.p_value)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "percentile": self.percentile}


@dataclass(frozen=True)
class FalseAlarms:
    """The number of flagged images, and how many of as many real images would be flagged.

    `confidence`: with which the rate holds for the calibration at hand; 0: on average over
    calibrations.  `discovery_rate`: at most this share of the flagged images is like the real ones;
    None: not controlled.
    """

    rate: float  # of false alarms, as asked for
    flagged: int
    images: int
    held_out: int
    confidence: float = 0.0
    discovery_rate: float | None = None

    @property
    def expected(self) -> float:
        """Flags to expect among as many real images, at most."""
        return self.rate * self.images

    @property
    def message(self) -> str:
        """The counts in one sentence."""
        sure = f" with confidence {self.confidence:g}" if self.confidence else ""
        together = (
            f"; of the flagged images at most {100 * self.discovery_rate:.3g} % are like the real "
            "ones, on average"
            if self.discovery_rate is not None
            else ""
        )
        return (
            f"{self.flagged} of {self.images} images flagged; of as many real images at most "
            f"{self.expected:.3g} would be, on average (rate {self.rate:g}{sure}, {self.held_out} "
            f"held-out real images){together}"
        )


@dataclass(frozen=True)
class Judgements(AsTable):
    """Images ranked among held-out real ones, worst first."""

    IMAGE = "name"

    images: tuple[ImageJudgement, ...]
    flags: FalseAlarms
    skipped: tuple[SkippedFile, ...]

    @property
    def message(self) -> str:
        """The counts in one sentence."""
        return self.flags.message

    def to_dict(self) -> dict[str, Any]:
        return {
            "images": [row.to_dict() for row in self.images],
            "skipped": [file.to_dict() for file in self.skipped],
        }

    def as_table(self) -> tuple[Rows, str]:
        return self.to_dict()["images"], self.flags.message


def explain_flag(decides: str, p: float, point: Tensor, held: Tensor) -> str:
    """The rank of the image [C, V] (2,) among held-out points (m, 2), in words."""
    below = (held < point).double().mean(dim=0).tolist()
    parts = [
        f"{what} {'above' if share >= 0.5 else 'below'} {max(share, 1 - share):.0%} of them"
        for what, share in zip(("complexity", "vulnerability"), below, strict=True)
    ]
    return f"{NAMES[decides]} ranks above {1 - p:.1%} of real images; {', '.join(parts)}"


def worst_first(judgements: Sequence[ImageJudgement]) -> list[ImageJudgement]:
    """Smallest p-value first; ties by the larger AS-i, then by name."""
    return sorted(judgements, key=lambda row: (row.p_value, -row.as_i, row.name))
