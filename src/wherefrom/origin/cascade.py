"""From the steps of a search to one answer: the same file, a copy, an edit, or none of these."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from wherefrom.origin.answers import Candidate, CopyEvidence, OriginAnswer
from wherefrom.origin.copies import MOST_DIFFERENT, CopyHashes, difference, hash_picture
from wherefrom.origin.decision import Answer, NullScores, decide, standing_out
from wherefrom.origin.index import Index
from wherefrom.origin.matching import Standing
from wherefrom.origin.reranking import read_indexed
from wherefrom.origin.result import IndexedImage
from wherefrom.origin.settings import SearchConfig

SHOWN = 10  # candidates of an answer
GROWTH = 1.5  # change of the index's size from which a calibration is called old


def find_copy(
    picture: Tensor, index: Index, hashes: CopyHashes
) -> tuple[tuple[IndexedImage, CopyEvidence] | None, tuple[str, ...]]:
    """The image that `picture` (3, 256, 256) is a copy of, if any, and what was not taken for one.

    A near hash is not enough: the picture is compared with the image's file.
    """
    near = hashes.near(hash_picture(picture))
    ids = index.copies([found.digest for found in near])
    notes = []
    for found in near:
        if found.digest not in ids:
            continue
        (image,) = index.get([ids[found.digest]])
        other = read_indexed(image)
        looks = f"{image.path} looks the same ({found.distance} of 256 bits differ)"
        if isinstance(other, str):
            notes.append(f"{looks}, but could not be compared: it {other}")
            continue
        apart = difference(picture, other.flip(-1) if found.mirrored else other)
        if apart <= MOST_DIFFERENT:
            return (image, CopyEvidence(found.distance, found.mirrored, apart)), ()
        notes.append(f"{looks}, but is no copy: the pictures differ in places")
    return None, tuple(notes)


def p_value_of(standing: Standing, config: SearchConfig, null: NullScores) -> float:
    """The p-value of a query's best match."""
    value = standing_out(standing.scores, config.statistic)
    return float(null.p_values(torch.tensor([value], dtype=torch.float64)))


def copy_of(
    path: Path, digest: str, image: IndexedImage, evidence: CopyEvidence | None
) -> OriginAnswer:
    """The answer for a copy of `image`; `evidence` is None for the same file."""
    candidate = Candidate(image.path, image.digest, 1.0, None)
    return OriginAnswer(str(path), Answer.COPY, None, None, (candidate,), "", digest, evidence)


def cannot_say(
    path: Path, reason: str, digest: str | None = None, notes: tuple[str, ...] = ()
) -> OriginAnswer:
    """The answer for a file that cannot be read (no `digest`) or compared, without candidates."""
    return OriginAnswer(str(path), Answer.UNKNOWN, None, None, (), reason, digest, notes=notes)


def answer_of(
    path: Path,
    digest: str,
    standing: Standing,
    *,
    index: Index,
    null: NullScores | None,
    config: SearchConfig,
    notes: tuple[str, ...],
) -> OriginAnswer:
    """The answer for a picture that is no copy, by the conformal test of its best match."""
    if len(standing.unread) > len(standing.alignments):
        return cannot_say(path, _unopened(standing), digest, notes)
    notes += tuple(f"{name} was not laid over again: {why}" for name, why in standing.unread)
    candidates = _candidates(standing, index, null, config)
    best = candidates[0]
    if null is None or best.p_value is None:
        reason = "this index is not calibrated; run calibrate with edits of known origin"
        answer = Answer.UNKNOWN
    else:
        answer, reason = decide(best.p_value, null)
        ratio = index.count() / null.indexed
        if not 1 / GROWTH < ratio < GROWTH:
            old = f"calibrated when the index held {null.indexed} images; calibrate again"
            reason = f"{reason}; {old}" if reason else old
    return OriginAnswer(
        str(path), answer, best.p_value, best.deviations, candidates, reason, digest, notes=notes
    )


def _unopened(standing: Standing) -> str:
    """Why there is no answer where most of the nearest images are gone.

    Scores without the comparison of pictures are smaller, and the calibration is not of them.
    """
    name, why = standing.unread[0]
    count = len(standing.unread) + len(standing.alignments)
    return (
        f"{len(standing.unread)} of its {count} nearest images could not be compared with it "
        f"({name}: {why}), and the calibration does not hold without; search from the folder in "
        "which the index was built, or put the files back"
    )


def _candidates(
    standing: Standing, index: Index, null: NullScores | None, config: SearchConfig
) -> tuple[Candidate, ...]:
    images = index.get(standing.ids[:SHOWN].tolist())
    scores = standing.scores[: len(images)]
    p_values: list[float | None] = [None] * len(images)
    if null is not None and config.statistic == "z":
        p_values[:] = null.p_values(scores).tolist()
    if null is not None:
        p_values[0] = p_value_of(standing, config, null)
    rows = zip(images, standing.cosines.tolist(), scores.tolist(), p_values, strict=False)
    return tuple(Candidate(image.path, image.digest, *values) for image, *values in rows)
