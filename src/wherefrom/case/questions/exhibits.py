"""What a page draws beside an answer.  No JSON: tensors and results as the rooms gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from wherefrom.anomaly.localisation.heat_maps import Localisation
from wherefrom.origin.searching.evidence import Evidence
from wherefrom.origin.searching.result import OriginAnswer


@dataclass(frozen=True, eq=False)
class ScorePlace:
    """Where one score lies among calibration scores; beyond `threshold` it is unlike `own`."""

    name: str
    own: Tensor  # (n,) float64
    own_label: str
    other: Tensor  # (m,) float64, empty where there are none
    other_label: str
    threshold: float
    score: float
    axis: str


@dataclass(frozen=True, eq=False)
class OriginShown:
    """The answer of one index, and where its first candidates differ from the image."""

    name: str
    answer: OriginAnswer
    evidence: Mapping[tuple[str, str], Evidence]


@dataclass(frozen=True, eq=False)
class HeatShown:
    """Which parts of the image its vulnerability comes from."""

    name: str
    pixels: Tensor  # (3, S, S) float32
    found: Localisation


@dataclass(frozen=True, eq=False)
class ReconstructionShown:
    """The image as a model sees it, and what it makes of the image's code."""

    name: str
    image: Tensor  # (C, S, S) float32 in [0, 1]
    recovered: Tensor
    psnr: float


@dataclass(frozen=True)
class SharesShown:
    """Shares of a receipt with the intervals that hold at once; None where unbounded."""

    name: str
    contributors: Sequence[str]
    values: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]
