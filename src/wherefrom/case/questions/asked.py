"""What asking one question gives, what is shown with it, and parts that flag images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from wherefrom.anomaly.damage.maps import DamageMap
from wherefrom.anomaly.localisation.heat_maps import Localisation
from wherefrom.case.result import PartAnswer, QuestionAnswer, State
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
class DamageShown:
    """Where the strongest evidence against the image lies."""

    name: str
    damage_map: DamageMap


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


@dataclass(frozen=True)
class Asked:
    """The answer to one question, and what a page shows beside it.

    `consulted`: absolute paths of the pictures, beside the image, that the answer rests on; None
    where a part failed, so that they are not all known.  `model`: the name of the model that the
    image was assigned to, where the question was which model made it.
    """

    answer: QuestionAnswer
    exhibits: tuple[object, ...] = ()
    consulted: tuple[str, ...] | None = ()
    model: str | None = None


@dataclass(frozen=True)
class FlagWords:
    """How an answer is put: sentences for flagged, not flagged and unclear, and the error."""

    flagged: str
    clear: str
    unsure: str
    error_of: str


def combine_flags(
    question: str,
    parts: Sequence[PartAnswer],
    rates: Sequence[float],
    words: FlagWords,
    caveats: Sequence[str],
) -> QuestionAnswer:
    """One answer from parts that each flag at a rate of their own.

    The answer's error rate is the sum of `rates`, at most 1 (the union bound).
    """
    if not parts:
        return QuestionAnswer.not_asked(question, "the case names no calibration for it")
    base = QuestionAnswer(question, State.UNFLAGGED, "", caveats=tuple(caveats), parts=tuple(parts))
    flagged = [part for part in parts if part.verdict == "flagged"]
    if flagged:
        worst = min(flagged, key=lambda part: part.p_value or 0.0)
        return replace(
            base,
            state=State.FOUND,
            sentence=f"{words.flagged} (“{worst.name}”, p = {worst.p_value:.3g}).",
            error_rate=min(1.0, sum(rates)),
            error_of=words.error_of,
            certainty=worst.p_value,
        )
    failed = [part for part in parts if part.verdict == "cannot say"]
    if failed:
        why = f"{failed[0].name}: {failed[0].reason}"
        sentence = f"{words.unsure} cannot be said: {why}."
        return replace(base, state=State.UNSURE, sentence=sentence, reason=why)
    smallest = min(part.p_value for part in parts if part.p_value is not None)
    return replace(base, sentence=f"{words.clear}, as far as can be told (p = {smallest:.3g}).")
