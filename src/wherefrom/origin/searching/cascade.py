"""From the steps of a search to one answer: the same file, a copy, an edit, or none of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.origin.index.index import Index
from wherefrom.origin.index.places import missing_now, shown_path
from wherefrom.origin.index.result import IndexedImage
from wherefrom.origin.reranking.scores import read_indexed
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.copies import MOST_DIFFERENT, CopyHashes, difference, hash_picture
from wherefrom.origin.searching.decision import Answer, NullScores, decide, standing_out
from wherefrom.origin.searching.matching import Standing
from wherefrom.origin.searching.result import Candidate, CopyEvidence, OriginAnswer

SHOWN = 10  # candidates of an answer
GROWTH = 1.5  # change of the index's size from which a calibration is called old


@dataclass(frozen=True, eq=False)
class Basis:
    """What answers rest on, but for the query; `base`: where paths in their texts begin.

    `base` is None for the current folder.
    """

    index: Index
    null: NullScores | None
    config: SearchConfig
    base: Path | None = None

    def shown(self, path: str) -> str:
        """The path of a picture in a text."""
        return shown_path(path, self.base)


@dataclass(frozen=True)
class CopySearch:
    """The image that a picture is a copy of, if any, and what was not taken for one.

    `consulted`: paths of the images whose pictures were compared.
    """

    copy: tuple[IndexedImage, CopyEvidence] | None
    notes: tuple[str, ...] = ()
    consulted: tuple[str, ...] = ()


def find_copy(picture: Tensor, basis: Basis, hashes: CopyHashes) -> CopySearch:
    """Look for the image that `picture` (3, 256, 256) is a copy of.

    A near hash is not enough: the picture is compared with the image's file.
    """
    notes: list[str] = []
    consulted: list[str] = []
    for found in hashes.near(hash_picture(picture)):
        twins = basis.index.twins(found.digest)
        if not twins:
            continue
        image, other = _first_readable(twins)
        consulted.append(image.path)
        looks = f"{basis.shown(image.path)} looks the same ({found.distance} of 256 bits differ)"
        if isinstance(other, str):
            notes.append(f"{looks}, but could not be compared: it {other}")
            continue
        apart = difference(picture, other.flip(-1) if found.mirrored else other)
        if apart <= MOST_DIFFERENT:
            evidence = CopyEvidence(found.distance, found.mirrored, apart)
            return CopySearch((image, evidence), (), tuple(consulted))
        notes.append(f"{looks}, but is no copy: the pictures differ in places")
    return CopySearch(None, tuple(notes), tuple(consulted))


def _first_readable(twins: Sequence[IndexedImage]) -> tuple[IndexedImage, Tensor | str]:
    """Of images with one content the first whose file can be read, else why the first cannot."""
    pictures = ((image, read_indexed(image)) for image in twins)
    first = next(pictures)
    if not isinstance(first[1], str):
        return first
    return next(((i, picture) for i, picture in pictures if not isinstance(picture, str)), first)


def p_value_of(standing: Standing, config: SearchConfig, null: NullScores) -> float:
    """The p-value of a query's best match."""
    value = standing_out(standing.scores, config.statistic)
    return float(null.p_values(torch.tensor([value], dtype=torch.float64)))


def same_file(path: Path, digest: str, basis: Basis) -> OriginAnswer | None:
    """The answer for a file that is in the index byte for byte, None if it is not."""
    twins = basis.index.twins(digest)
    if not twins:
        return None
    missing = {image.path: missing_now(image.path, digest) for image in twins}
    image = next((twin for twin in twins if not missing[twin.path]), twins[0])
    candidate = Candidate(image.path, image.digest, 1.0, None, missing=missing[image.path])
    return _copy(path, digest, candidate, basis)


def copy_of(path: Path, digest: str, found: CopySearch, basis: Basis) -> OriginAnswer | None:
    """The answer for a picture that is a copy of an image, None if it is none."""
    if found.copy is None:
        return None
    image, evidence = found.copy
    candidate = Candidate(image.path, image.digest, 1.0, None)
    answer = _copy(path, digest, candidate, basis, evidence)
    return replace(answer, consulted=found.consulted)


def _copy(
    path: Path,
    digest: str,
    candidate: Candidate,
    basis: Basis,
    evidence: CopyEvidence | None = None,
) -> OriginAnswer:
    answer = OriginAnswer(str(path), Answer.COPY, None, None, (candidate,), "", digest, evidence)
    return replace(answer, notes=_missing_notes(candidate, basis), consulted=(candidate.path,))


def cannot_say(
    path: Path, reason: str, digest: str | None = None, found: CopySearch | None = None
) -> OriginAnswer:
    """The answer for a file that cannot be read (no `digest`) or compared, without candidates."""
    notes, consulted = ((), ()) if found is None else (found.notes, found.consulted)
    name = str(path)
    return OriginAnswer(
        name, Answer.UNKNOWN, None, None, (), reason, digest, notes=notes, consulted=consulted
    )


def answer_of(
    path: Path, digest: str, standing: Standing, found: CopySearch, basis: Basis
) -> OriginAnswer:
    """The answer for a picture that is no copy, by the conformal test of its best match."""
    laid_over = basis.index.get([*standing.alignments])
    consulted = (
        *found.consulted,
        *(image.path for image in laid_over),
        *(name for name, _ in standing.unread),
    )
    unopened = why_unopened(standing, basis.base)
    if unopened:
        return replace(cannot_say(path, unopened, digest, found), consulted=consulted)
    index, null = basis.index, basis.null
    candidates = _candidates(standing, basis)
    best = candidates[0]
    if null is None or best.p_value is None:
        reason = "this index is not calibrated; run calibrate with edits of known origin"
        answer_kind = Answer.UNKNOWN
    else:
        answer_kind, reason = decide(best.p_value, null)
        ratio = index.count() / null.indexed
        if not 1 / GROWTH < ratio < GROWTH:
            old = f"calibrated when the index held {null.indexed} images; calibrate again"
            reason = f"{reason}; {old}" if reason else old
    unread = (
        f"{basis.shown(name)} was not laid over again: {why}" for name, why in standing.unread
    )
    named = _missing_notes(best, basis) if answer_kind is Answer.EDIT else ()
    return OriginAnswer(
        str(path), answer_kind, best.p_value, best.deviations, candidates, reason, digest,
        notes=(*named, *found.notes, *unread),
        consulted=tuple(dict.fromkeys([*consulted, *(c.path for c in candidates)])),
    )  # fmt: skip


def _missing_notes(named: Candidate, basis: Basis) -> tuple[str, ...]:
    """What to do where the picture that an answer names is not at its path any more."""
    if not named.missing:
        return ()
    shown = basis.shown(named.path)
    return (
        f"{shown} {named.missing}; put it back, or bring the index up to date with `wherefrom "
        "origin sync`",
    )


def why_unopened(standing: Standing, base: Path | None = None) -> str:
    """Why nothing is said where most of the nearest images are gone, "" where they are not.

    Scores without the comparison of pictures are smaller, and no calibration holds for both.
    """
    if len(standing.unread) <= len(standing.alignments):
        return ""
    name, why = standing.unread[0]
    count = len(standing.unread) + len(standing.alignments)
    return (
        f"{len(standing.unread)} of its {count} nearest images could not be compared with it "
        f"({shown_path(name, base)}: {why}), and the calibration does not hold without; put the "
        "files back, say with --root where they are now, or run `wherefrom origin sync`"
    )


def _candidates(standing: Standing, basis: Basis) -> tuple[Candidate, ...]:
    """The first images, and for the very first whether its content is still what was compared."""
    null, config = basis.null, basis.config
    images = basis.index.get(standing.ids[:SHOWN].tolist())
    scores = standing.scores[: len(images)]
    p_values: list[float | None] = [None] * len(images)
    if null is not None and config.statistic == "z":
        p_values[:] = null.p_values(scores).tolist()
    if null is not None:
        p_values[0] = p_value_of(standing, config, null)
    missing = [
        missing_now(image.path, None if rank else image.digest) for rank, image in enumerate(images)
    ]
    rows = zip(images, standing.cosines.tolist(), scores.tolist(), p_values, missing, strict=False)
    return tuple(Candidate(image.path, image.digest, *values) for image, *values in rows)
