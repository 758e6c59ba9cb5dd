"""What a page draws beside an answer: tensors and results as the methods gave them, no JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from wherefrom.anomaly.localisation.heat_maps import Localisation
from wherefrom.origin.searching.evidence import CandidateOverlay
from wherefrom.origin.searching.result import OriginAnswer


@dataclass(frozen=True, eq=False)
class ScorePlace:
    """Where one score lies among calibration scores; above `threshold` it is unlike `own`."""

    name: str
    own: Tensor  # (n,) float64
    own_label: str
    threshold: float
    score: float
    axis: str
    other: Tensor | None = None  # (m,) float64
    other_label: str = ""


@dataclass(frozen=True, eq=False)
class OriginShown:
    """The answer of one index, and where its first candidates differ from the image."""

    name: str
    answer: OriginAnswer
    evidence: Mapping[tuple[str, str], CandidateOverlay]


@dataclass(frozen=True, eq=False)
class HeatShown:
    """Which parts of the image its vulnerability comes from."""

    name: str
    pixels: Tensor  # (3, S, S) float32
    localisation: Localisation


@dataclass(frozen=True, eq=False)
class ReconstructionShown:
    """The image at the inverter's size, and its reconstruction from its code."""

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
