"""What `search` and `evaluate` return.  Larger score = more likely the origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wherefrom.origin.decision import Answer


@dataclass(frozen=True)
class Candidate:
    """One image of the index.

    `score`: its cosine to the query under W, in the view in which it does best.  `deviations`: how
    many of them it lies above the index, with what re-ranking adds; candidates are ranked by it.
    `p_value`: share of images without an origin in the index whose *best* match stands out as much;
    beyond the first candidate it is known for the statistic z only.
    """

    path: str
    digest: str
    score: float
    deviations: float | None
    p_value: float | None = None


@dataclass(frozen=True)
class CopyEvidence:
    """Why a picture is taken for a copy of another file.

    `bits`: how many of the 256 of the perceptual hash differ.  `difference`: root mean square of
    colours, 0 to 1, in the cell of a 32 x 32 grid in which the pictures differ most.
    """

    bits: int
    mirrored: bool
    difference: float


@dataclass(frozen=True)
class OriginAnswer:
    """The answer for one image.

    `p_value`: share of images without an origin in the index whose best match stands out as much.
    `z`: how many deviations the best match lies above the index.  Both are None where not known.
    `copy`: of a copy that is another file.  `notes`: what could not be compared, and why.
    """

    name: str
    answer: Answer
    p_value: float | None
    z: float | None
    candidates: tuple[Candidate, ...]  # best first
    reason: str
    digest: str | None = None
    copy: CopyEvidence | None = None
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The answer as a person says it."""
        if self.answer is Answer.COPY:
            return f"copy of {self.candidates[0].path} ({self.kind_of_copy()})"
        if self.answer is Answer.EDIT:
            return f"made from {self.candidates[0].path} (p = {self.p_value:.3g})"
        return f"{self.answer}: {self.reason}"

    def kind_of_copy(self) -> str:
        """How a copy differs from the file that it is a copy of."""
        if self.copy is None:
            return "the same file"
        how = "re-encoded and mirrored" if self.copy.mirrored else "re-encoded"
        return f"{how}; {self.copy.bits} of 256 bits differ"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"answer": str(self.answer), "sentence": self.sentence()}


@dataclass(frozen=True)
class ModelRow:
    """How well origins are found among edits of one generating model.

    `found` and `wrong`: shares of queries called "made from" the right and another image; None
    without a calibration.
    """

    model: str
    queries: int
    mean_average_precision: float
    accuracy: float
    curve: Mapping[int, float]  # k -> share of right origins among the first k
    found: float | None
    wrong: float | None


@dataclass(frozen=True)
class RetrievalReport:
    """One row per generating model and one for all; `ranks` is that of each right origin.

    `trained_on`: pairs of which an image was in the training of the edit map, which flatters it;
    None where the map does not record its images.
    """

    rows: tuple[ModelRow, ...]
    indexed: int
    ranks: tuple[int, ...]
    skipped: tuple[tuple[str, str], ...]
    trained_on: int | None = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class AddReport:
    """What became of the files given to `build` and `add`."""

    added: int
    unchanged: int
    replaced: int
    duplicates: int
    skipped: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
