"""What `search` and `evaluate` return.  Larger score = more likely the origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wherefrom.origin.index.places import shown_path
from wherefrom.origin.searching.decision import Answer


@dataclass(frozen=True)
class Candidate:
    """One image of the index.

    `score`: its cosine to the query under W, in the view in which it does best.  `deviations`: how
    many of them it lies above the index, with what re-ranking adds; candidates are ranked by it.
    `p_value`: share of images without an origin in the index whose *best* match stands out as much;
    beyond the first candidate it is known for the statistic z only.  `missing`: why the picture is
    not at `path` any more, as "is gone"; empty where it is.
    """

    path: str
    digest: str
    score: float
    deviations: float | None
    p_value: float | None = None
    missing: str = ""


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
    `consulted`: paths of the pictures that the answer rests on, whether they could be read or not;
    it is no part of the JSON values.
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
    consulted: tuple[str, ...] = ()

    def sentence(self, base: Path | None = None) -> str:
        """The answer as a person says it; paths below `base` (the current folder) start there."""
        if self.answer not in (Answer.COPY, Answer.EDIT):
            return f"{self.answer}: {self.reason}"
        best = self.candidates[0]
        missing = f", which {best.missing}" if best.missing else ""
        shown = shown_path(best.path, base)
        if self.answer is Answer.COPY:
            return f"copy of {shown} ({self.kind_of_copy()}){missing}"
        return f"made from {shown} (p = {self.p_value:.3g}){missing}"

    def kind_of_copy(self) -> str:
        """How a copy differs from the file that it is a copy of."""
        if self.copy is None:
            return "the same file"
        how = "re-encoded and mirrored" if self.copy.mirrored else "re-encoded"
        return f"{how}; {self.copy.bits} of 256 bits differ"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = asdict(self) | {"answer": str(self.answer), "sentence": self.sentence()}
        del values["consulted"]
        return values


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

    @property
    def usable(self) -> int:
        """How many of the files stand in the index now."""
        return self.added + self.unchanged + self.replaced

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SyncReport:
    """What became of an index's pictures since it was last brought up to date.

    Paths are absolute; `moved` are pairs of the old and the new path of a picture, found by its
    content.  `changed` pictures have another content under their path.  `skipped`: path and reason
    of what could not be read; where it stands in the index, it stays there.  `removed` are pictures
    in the folders that were removed by hand and stay out.  With `dry_run` nothing was changed, and
    whether what is new can be decoded is not known.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]
    unchanged: int
    removed: int
    skipped: tuple[tuple[str, str], ...]
    images: int
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
