"""Searches for pairs of known origin, as a calibration and an evaluation need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import are_known, content_of
from wherefrom.data.files.archives import digest_anywhere
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.images.items import read_image
from wherefrom.origin.edit_map.fitted import FittedEditMap
from wherefrom.origin.index.index import Index
from wherefrom.origin.searching.cascade import why_unopened
from wherefrom.origin.searching.copies import CopyHashes
from wherefrom.origin.searching.matching import Matcher
from wherefrom.origin.searching.reader import Reader

LISTED = 12  # of the largest values
NO_RECORD = (
    "the edit map does not record the images that it was trained on (it was saved by an earlier "
    "version, or fitted from embeddings alone), so whether these pairs were among them could not "
    "be checked; train it again to have it checked"
)


@dataclass(frozen=True)
class WithoutOrigin:
    """How far the best match of each edit stands out, its own origin left out."""

    values: tuple[float, ...]
    matches: tuple[tuple[Path, str], ...]  # of each value: the edit, and the path of its best match
    same_series: tuple[Path, ...]  # edits whose origin is in the series of an earlier one
    skipped: tuple[SkippedFile, ...]  # edits that have no value


def one_edit_per_origin(
    edits: Sequence[Path], origins: Sequence[Path], seed: int
) -> dict[Path, Path]:
    """One edit of each origin, drawn by `seed`, and its origin; in the origins' first order."""
    groups: dict[Path, list[Path]] = {}
    for edit, origin in zip(edits, origins, strict=True):
        groups.setdefault(origin, []).append(edit)
    return {
        group[int(torch.randint(len(group), (1,), generator=stream(seed, "one edit", i)))]: origin
        for i, (origin, group) in enumerate(groups.items())
    }


def trained_on(
    pairs: Mapping[Path, Path], edit_map: FittedEditMap | None, *, track: Track = quiet
) -> tuple[Path, ...] | None:
    """The edits of `pairs` that are, or whose origin is, an image that `edit_map` was trained on.

    By the pixels of the files (`core.contents`).  None where the map does not record them.  A file
    that cannot be read is passed over: it is skipped later.
    """
    if edit_map is None:
        return ()
    if edit_map.seen is None:
        return None
    steps = track(pairs.items(), "comparing pairs with the training", total=len(pairs))
    return tuple(
        edit
        for edit, origin in steps
        if bool(are_known(_contents((edit, origin)), edit_map.seen).any())
    )


def refuse_training_pairs(
    pairs: Mapping[Path, Path], edit_map: FittedEditMap | None, *, track: Track = quiet
) -> str:
    """An `InputError` if `edit_map` was trained on any of `pairs`; a note if that is not known."""
    known = trained_on(pairs, edit_map, track=track)
    if known:
        raise InputError(
            f"{len(known)} of the {len(pairs)} pairs have an edit or an origin that the edit map "
            f"was trained on (the first: {known[0]}), but a calibration needs pairs that it has "
            "not seen, or more false alarms come than asked for; give other pairs"
        )
    return NO_RECORD if known is None else ""


def _contents(paths: Sequence[Path]) -> Tensor:
    contents = []
    for path in paths:
        try:
            contents.append(content_of(read_image(path, channels=3, losses=False).pixels))
        except UnusableFile:
            continue
    return torch.tensor(contents, dtype=torch.int64)


def search_without_origins(
    pairs: Mapping[Path, Path],
    matcher: Matcher,
    hashes: CopyHashes | None = None,
    *,
    track: Track = quiet,
) -> WithoutOrigin:
    """Search for each edit as if its origin (the value of `pairs`) were not in the index.

    Nor the series of the origin: an edit looks like its near-duplicates, too.  Of the edits of one
    series the first has a value: values of one scene are not independent.
    """
    reader, values, matches = Reader(matcher.encoder), list[float](), list[tuple[Path, str]]()
    finder, seen, same_series = matcher.finder(hashes), set[int](), list[Path]()
    progress = track([*pairs], "searching without the origin", total=len(pairs))
    for some, _, pictures in reader.images(progress):
        left_out: dict[int, Tensor] = {}
        for place, ids in enumerate(ids_of(matcher.index, [pairs[name] for name in some])):
            series = finder.around(ids.tolist())
            if not seen.isdisjoint(series):
                same_series.append(some[place])
                continue
            seen.update(series)
            left_out[place] = torch.tensor(series, dtype=torch.int64)
        rankings = matcher.rank(pictures[[*left_out]], left_out=[*left_out.values()])
        for name, ranking in zip([some[i] for i in left_out], rankings, strict=True):
            reason = ranking if isinstance(ranking, str) else why_unopened(ranking)
            if isinstance(ranking, str) or reason:
                reader.skipped.append(SkippedFile(name, reason))
            else:
                values.append(ranking.prominence(matcher.config.statistic))
                (best,) = matcher.index.get([int(ranking.ids[0])])
                matches.append((name, best.path))
    if reader.skipped and not values:
        first, reason = reader.skipped[0]
        raise InputError(
            f"none of the {len(pairs)} edits could be compared; the first: {show_path(first)}: "
            f"{reason}"
        )
    return WithoutOrigin(tuple(values), tuple(matches), tuple(same_series), tuple(reader.skipped))


def largest_values(result: WithoutOrigin, pairs: Mapping[Path, Path]) -> list[dict[str, object]]:
    """The largest values with their edit, its origin and its best match, as JSON values."""
    ranked = sorted(zip(result.values, result.matches, strict=True), key=lambda row: -row[0])
    return [
        {"value": value, "edit": str(edit), "origin": str(pairs[edit]), "match": match}
        for value, (edit, match) in ranked[:LISTED]
    ]


def ids_of(index: Index, origins: Sequence[Path]) -> list[Tensor]:
    """Ids of the images of the index that are these files: by content, whatever the path."""
    digests = {path: digest_anywhere(path) for path in dict.fromkeys(origins)}
    known = index.copies(list(digests.values()))
    by_path = dict(zip(digests, index.find(list(digests)), strict=True))
    both = ({known.get(digests[path]), by_path[path]} for path in origins)
    rows = [sorted(image for image in ids if image is not None) for ids in both]
    return [torch.tensor(row, dtype=torch.int64) for row in rows]
