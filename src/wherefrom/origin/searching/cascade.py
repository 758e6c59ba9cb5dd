"""Answer files: the same file, then a copy, then the search by W for an edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.places import missing_now, shown_path
from wherefrom.origin.index.result import IndexedImage
from wherefrom.origin.joint.rows import PARTS
from wherefrom.origin.reranking.scores import read_indexed
from wherefrom.origin.searching.config import SearchConfig
from wherefrom.origin.searching.copies import MAX_DIFFERENCE, CopyHashes, difference, hash_picture
from wherefrom.origin.searching.decision import AnswerKind, NullScores, decide
from wherefrom.origin.searching.matching import SHOWN, Matcher, RankedCandidates
from wherefrom.origin.searching.reader import Reader
from wherefrom.origin.searching.result import Candidate, CopyEvidence, OriginAnswer, OriginAnswers

GROWTH = 1.5  # change of the index's size from which a calibration is called old


@dataclass(frozen=True, eq=False)
class Basis:
    """The index, calibration and settings that answers are given with.

    `base`: the folder in which paths in their texts begin; None: the current folder.
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
    """The image that a picture is a copy of, if any; `notes`: near images that are no copy.

    `consulted`: paths of the images whose pictures were compared.
    """

    copy: tuple[IndexedImage, CopyEvidence] | None
    notes: tuple[str, ...] = ()
    consulted: tuple[str, ...] = ()


NO_COPY = CopySearch(None)


def answer_files(
    files: Sequence[Path],
    matcher: Matcher,
    basis: Basis,
    hashes: CopyHashes,
    *,
    track: Track = quiet,
) -> OriginAnswers:
    """An answer per file, in order; "cannot say" for one that cannot be read or compared."""
    reader = Reader(matcher.encoder)
    answers: dict[Path, OriginAnswer] = {}
    steps = track(files, "searching the index", total=len(files))
    for paths, digests, pictures in reader.images(steps):
        outcomes = [
            _find_copy(path, digest, picture, basis, hashes)
            for path, digest, picture in zip(paths, digests, pictures, strict=True)
        ]
        searches = {i: each for i, each in enumerate(outcomes) if isinstance(each, CopySearch)}
        answers |= {
            paths[i]: each for i, each in enumerate(outcomes) if isinstance(each, OriginAnswer)
        }
        rankings = matcher.rank(pictures[[*searches]]) if searches else []
        for (i, search), ranking in zip(searches.items(), rankings, strict=True):
            answers[paths[i]] = (
                cannot_say(paths[i], ranking, digests[i], search)
                if isinstance(ranking, str)
                else answer_of(paths[i], digests[i], ranking, search, basis)
            )
    answers |= {path: cannot_say(path, reason) for path, reason in reader.skipped}
    return OriginAnswers(answers[path] for path in files)


def _find_copy(
    path: Path, digest: str, picture: Tensor, basis: Basis, hashes: CopyHashes
) -> OriginAnswer | CopySearch:
    """The answer for the same file or a copy; else what was not taken for one."""
    same = same_file(path, digest, basis)
    search = find_copy(picture, basis, hashes) if same is None else NO_COPY
    return same or copy_of(path, digest, search, basis) or search


def find_copy(picture: Tensor, basis: Basis, hashes: CopyHashes) -> CopySearch:
    """Look for the image that `picture` (3, 256, 256) is a copy of.

    A near hash is not enough: the picture is compared with the image's file.
    """
    notes: list[str] = []
    consulted: list[str] = []
    for near in hashes.near(hash_picture(picture)):
        twins = basis.index.twins(near.digest)
        if not twins:
            continue
        image, other = _first_readable(twins)
        consulted.append(image.path)
        looks = f"{basis.shown(image.path)} looks the same ({near.distance} of 256 bits differ)"
        if isinstance(other, str):
            notes.append(f"{looks}, but could not be compared: it {other}")
            continue
        apart = difference(picture, other.flip(-1) if near.mirrored else other)
        if apart <= MAX_DIFFERENCE:
            evidence = CopyEvidence(near.distance, near.mirrored, apart)
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


def p_value_of(ranking: RankedCandidates, config: SearchConfig, null: NullScores) -> float:
    """The p-value of a query's best match."""
    value = ranking.prominence(config.statistic)
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


def copy_of(path: Path, digest: str, search: CopySearch, basis: Basis) -> OriginAnswer | None:
    """The answer for a picture that is a copy of an image, None if it is none."""
    if search.copy is None:
        return None
    image, evidence = search.copy
    candidate = Candidate(image.path, image.digest, 1.0, None)
    answer = _copy(path, digest, candidate, basis, evidence)
    return replace(answer, consulted=search.consulted)


def _copy(
    path: Path,
    digest: str,
    candidate: Candidate,
    basis: Basis,
    evidence: CopyEvidence | None = None,
) -> OriginAnswer:
    answer = OriginAnswer(
        str(path), AnswerKind.COPY, None, None, (candidate,), "", digest, evidence
    )
    return replace(answer, notes=_missing_notes(candidate, basis), consulted=(candidate.path,))


def cannot_say(
    path: Path, reason: str, digest: str | None = None, search: CopySearch = NO_COPY
) -> OriginAnswer:
    """The answer for a file that cannot be read (no `digest`) or compared, without candidates."""
    answer = OriginAnswer(str(path), AnswerKind.UNKNOWN, None, None, (), reason, digest)
    return replace(answer, notes=search.notes, consulted=search.consulted)


def answer_of(
    path: Path, digest: str, ranking: RankedCandidates, search: CopySearch, basis: Basis
) -> OriginAnswer:
    """The answer for a picture that is no copy, by the conformal test of its best match."""
    laid_over = basis.index.get([*ranking.alignments])
    unread_paths = [name for name, _ in ranking.unread]
    consulted = (*search.consulted, *(image.path for image in laid_over), *unread_paths)
    unopened = why_unopened(ranking, basis.base)
    if unopened:
        return replace(cannot_say(path, unopened, digest, search), consulted=consulted)
    index, null = basis.index, basis.null
    candidates = _candidates(ranking, basis)
    best = candidates[0]
    if null is None or best.p_value is None:
        reason = "this index is not calibrated; run calibrate with edits of known origin"
        answer_kind = AnswerKind.UNKNOWN
    else:
        answer_kind, reason = decide(best.p_value, null)
        ratio = index.count() / null.indexed
        if not 1 / GROWTH < ratio < GROWTH:
            old = f"calibrated when the index held {null.indexed} images; calibrate again"
            reason = f"{reason}; {old}" if reason else old
    unread = (
        f"{basis.shown(name)} could not be compared again: {why}" for name, why in ranking.unread
    )
    named = _missing_notes(best, basis) if answer_kind is AnswerKind.EDIT else ()
    return OriginAnswer(
        str(path), answer_kind, best.p_value, best.deviations, candidates, reason, digest,
        notes=(*named, *search.notes, *unread),
        consulted=tuple(dict.fromkeys([*consulted, *(c.path for c in candidates)])),
        series=tuple(image.path for image in index.get(ranking.series)),
    )  # fmt: skip


def _missing_notes(named: Candidate, basis: Basis) -> tuple[str, ...]:
    """A note if the picture that an answer names is not at its path any more."""
    if not named.missing:
        return ()
    shown = basis.shown(named.path)
    return (
        f"{shown} {named.missing}; put it back, or bring the index up to date with `wherefrom "
        "origin sync`",
    )


def why_unopened(ranking: RankedCandidates, base: Path | None = None) -> str:
    """Why there is no answer if most of the nearest images are gone; "" if they are not.

    Scores without the comparison of pictures are smaller, and no calibration holds for both.
    """
    if len(ranking.unread) <= len(ranking.alignments):
        return ""
    name, why = ranking.unread[0]
    count = len(ranking.unread) + len(ranking.alignments)
    return (
        f"{len(ranking.unread)} of its {count} nearest images could not be compared with it "
        f"({shown_path(name, base)}: {why}), and the calibration does not hold without; put the "
        "files back, say with --root where they are now, or run `wherefrom origin sync`"
    )


def _candidates(ranking: RankedCandidates, basis: Basis) -> tuple[Candidate, ...]:
    """The first candidates; only for the very first the content of its file is checked again."""
    null, config = basis.null, basis.config
    images = basis.index.get(ranking.ids[:SHOWN].tolist())
    scores = ranking.scores[: len(images)]
    p_values: list[float | None] = [None] * len(images)
    if null is not None and config.statistic == "z":
        p_values[:] = null.p_values(scores).tolist()
    if null is not None:
        p_values[0] = p_value_of(ranking, config, null)
    missing = [
        missing_now(image.path, None if rank else image.digest) for rank, image in enumerate(images)
    ]
    kinds: list[dict[str, float] | None] = [None] * len(images)
    kinds[: len(ranking.parts)] = [dict(zip(PARTS, part, strict=True)) for part in ranking.parts]
    rows = zip(
        images, ranking.cosines.tolist(), scores.tolist(), p_values, missing, kinds, strict=False
    )
    return tuple(Candidate(image.path, image.digest, *values) for image, *values in rows)
