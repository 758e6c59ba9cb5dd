"""Files answered one after the other: the same file, then a copy, then the search by W."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.origin.searching.cascade import (
    Basis,
    CopySearch,
    answer_of,
    cannot_say,
    copy_of,
    find_copy,
    same_file,
)
from wherefrom.origin.searching.copies import CopyHashes
from wherefrom.origin.searching.matching import Matcher
from wherefrom.origin.searching.reader import Reader
from wherefrom.origin.searching.result import OriginAnswer, OriginAnswers


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
            path: each
            for path, each in zip(paths, outcomes, strict=True)
            if isinstance(each, OriginAnswer)
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
    answer = same_file(path, digest, basis)
    if answer is not None:
        return answer
    search = find_copy(picture, basis, hashes)
    return copy_of(path, digest, search, basis) or search
