"""Results of searching, adding, synchronising and evaluating.

Larger score = more likely the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.origin.index.places import shown_path
from wherefrom.origin.searching.decision import AnswerKind


@dataclass(frozen=True)
class Candidate:
    """One image of the index.

    `score`: its cosine to the query under W, in the view in which it does best; in an index with
    features the weighed mean of the cosines by kind, which are in `evidence`.  `deviations`: how
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
    evidence: Mapping[str, float] | None = None


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
    `copy`: of a copy that is another file.  `series`: paths of near-duplicates of the best match in
    the index, any of which may be the origin.  `notes`: what could not be compared, and why.
    `consulted`: paths of the pictures that the answer rests on, whether they could be read or not;
    it is no part of the JSON values.
    """

    name: str
    answer: AnswerKind
    p_value: float | None
    z: float | None
    candidates: tuple[Candidate, ...]  # best first
    reason: str
    digest: str | None = None
    copy: CopyEvidence | None = None
    notes: tuple[str, ...] = ()
    consulted: tuple[str, ...] = ()
    series: tuple[str, ...] = ()

    def sentence(self, base: Path | None = None) -> str:
        """The answer as a person says it; paths below `base` (the current folder) start there."""
        if self.answer not in (AnswerKind.COPY, AnswerKind.EDIT):
            return f"{self.answer}: {self.reason}"
        best = self.candidates[0]
        missing = f", which {best.missing}" if best.missing else ""
        shown = shown_path(best.path, base)
        if self.answer is AnswerKind.COPY:
            return f"copy of {shown} ({self.kind_of_copy()}){missing}"
        if self.series:
            count = len(self.series) + 1
            shown = f"one of these {count} nearly identical pictures, most likely {shown}"
        return f"made from {shown} (p = {self.p_value:.3g}){missing}"

    def kind_of_copy(self) -> str:
        """How a copy differs from the file that it is a copy of."""
        if self.copy is None:
            return "the same file"
        how = "re-encoded and mirrored" if self.copy.mirrored else "re-encoded"
        return f"{how}; {self.copy.bits} of 256 bits differ"

    def to_dict(self) -> dict[str, Any]:
        """The fields but `consulted`, and the `sentence`, as JSON values."""
        values = asdict(self) | {"answer": str(self.answer), "sentence": self.sentence()}
        del values["consulted"]
        return values


class OriginAnswers(AsTable, tuple[OriginAnswer, ...]):
    """One answer per image that was searched for, in the order in which they are listed."""

    IMAGE = "image"

    __slots__ = ()

    def require_compared(self) -> None:
        """An `InputError` if not a single image could be read and compared."""
        if not any(answer.candidates for answer in self):
            failed = "read" if all(answer.digest is None for answer in self) else "compared"
            first = self[0]
            raise InputError(f"no image could be {failed}; the first: {first.name}: {first.reason}")

    def to_dict(self) -> dict[str, Any]:
        return {"answers": [answer.to_dict() for answer in self]}

    def rows(self) -> list[dict[str, Any]]:
        """Per image its path, the answer, the best candidate's path and score, and the reason."""
        rows = []
        for answer in self:
            best = answer.candidates[0] if answer.candidates else None
            rows.append(
                {
                    "image": answer.name,
                    "answer": str(answer.answer),
                    "best candidate": None if best is None else best.path,
                    "cosine": None if best is None else best.score,
                    "p-value": answer.p_value,
                    "reason": answer.reason,
                }
            )
        return rows

    def as_table(self) -> tuple[Rows, str]:
        return self.rows(), "Origins"


@dataclass(frozen=True)
class ModelRow:
    """How well origins are found among edits of one generating model.

    `right` and `wrong`: shares of queries called "made from" the right and another image; None
    without a calibration.  `series_accuracy`, `series_right` and `series_wrong` take any picture in
    the series of the origin for right.
    """

    model: str
    queries: int
    mean_average_precision: float
    accuracy: float
    curve: Mapping[int, float]  # k -> share of right origins among the first k
    right: float | None
    wrong: float | None
    series_accuracy: float
    series_right: float | None
    series_wrong: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; `right` is called `found`."""
        values = asdict(self)
        values["found"] = values.pop("right")
        return values


@dataclass(frozen=True)
class RetrievalReport(AsTable):
    """One row per generating model and one for all; `ranks` is that of each right origin.

    `trained_on`: pairs of which an image was in the training of the edit map, which flatters it;
    None where the map does not record its images.
    """

    rows: tuple[ModelRow, ...]
    indexed: int
    ranks: tuple[int, ...]
    skipped: tuple[SkippedFile, ...]
    trained_on: int | None = 0

    def to_dict(self) -> dict[str, Any]:
        rows = [row.to_dict() for row in self.rows]
        return asdict(self) | {"rows": rows, "skipped": [file.to_dict() for file in self.skipped]}

    def as_table(self) -> tuple[Rows, str]:
        return self._table(), f"{self.indexed} images in the index"

    def _table(self) -> list[dict[str, Any]]:
        rows = [row.to_dict() for row in self.rows]
        return [row | {f"first {k}": v for k, v in row.pop("curve").items()} for row in rows]


@dataclass(frozen=True)
class AddReport:
    """What became of the files given to `build` and `add`."""

    added: int
    unchanged: int
    replaced: int
    duplicates: int
    skipped: tuple[SkippedFile, ...]

    @property
    def usable(self) -> int:
        """How many of the files stand in the index now."""
        return self.added + self.unchanged + self.replaced

    def require_usable(self) -> None:
        """An `InputError` if every file was left out."""
        if not self.usable:
            path, reason = self.skipped[0]
            raise InputError(
                f"no image was added: {len(self.skipped)} files were left out; the first: {path}: "
                f"{reason}"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"skipped": [file.to_dict() for file in self.skipped]}


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
    skipped: tuple[SkippedFile, ...]
    images: int
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"skipped": [file.to_dict() for file in self.skipped]}
