"""How well the origins of known edits are found, one row per generating model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.opening import SkippedFile
from wherefrom.metrics import retrieval
from wherefrom.origin.calibration.calibrating import ids_of
from wherefrom.origin.searching.cascade import p_value_of, why_unopened
from wherefrom.origin.searching.copies import CopyHashes
from wherefrom.origin.searching.decision import NullScores
from wherefrom.origin.searching.matching import Matcher, RankedCandidates
from wherefrom.origin.searching.reader import Reader
from wherefrom.origin.searching.result import ModelRow, RetrievalReport

CURVE = (1, 5, 10, 100)


def evaluate_edits(
    matcher: Matcher,
    edits: Sequence[Path],
    origins: Sequence[Path],
    models: Sequence[str],
    *,
    null: NullScores | None,
    known: Sequence[Path] | None,
    hashes: CopyHashes | None = None,
    track: Track = quiet,
) -> RetrievalReport:
    """Search for each edit, and rank its origin (`origins[i]` of `edits[i]`, by `models[i]`).

    `known`: the edits that the edit map was trained on, None where that is not recorded.  An
    `InputError` if an origin is not in the index, or no edit can be compared.
    """
    place = {name: i for i, name in enumerate(edits)}
    reader, finder = Reader(matcher.encoder), matcher.finder(hashes)
    ranks, right, p_values, named = (
        list[int](),
        list[tuple[bool, bool]](),
        list[float](),
        list[str](),
    )
    progress = track(edits, "searching for known origins", total=len(edits))
    for some, _, pictures in reader.images(progress):
        wanted = ids_of(matcher.index, [origins[place[name]] for name in some])
        for name, ids in zip(some, wanted, strict=True):
            if not len(ids):
                raise InputError(
                    f"{origins[place[name]]}, the origin of {name}, is not in the index; add it "
                    "first"
                )
        for row, ids in enumerate(wanted):
            # One at a time: a full ranking per view is large.
            (ranking,) = matcher.rank(pictures[row : row + 1], matcher.index.count())
            reason = ranking if isinstance(ranking, str) else why_unopened(ranking)
            if isinstance(ranking, str) or reason:
                reader.skipped.append(SkippedFile(some[row], reason))
                continue
            ranks.append(rank_of(ranking, ids))
            best = int(ranking.ids[0])
            right.append((best in ids.tolist(), best in finder.around(ids.tolist())))
            if null is not None:
                p_values.append(p_value_of(ranking, matcher.config, null))
            named.append(models[place[some[row]]])
    skipped = tuple(reader.skipped)
    if not ranks:
        first = "; the first: {}: {}".format(*skipped[0]) if skipped else ""
        raise InputError(
            f"none of the {len(edits)} edits could be compared{first}; give pairs whose files can "
            "be read"
        )
    rows = rows_of(named, ranks, right, p_values, None if null is None else null.rate)
    trained_on = None if known is None else len(known)
    return RetrievalReport(rows, matcher.index.count(), tuple(ranks), skipped, trained_on)


def rank_of(ranking: RankedCandidates, right: Tensor) -> int:
    """Rank of the best placed right image; equal scores of others rank before it."""
    mine = torch.isin(ranking.ids, right)
    first = int(mine.nonzero()[0])
    others = ~mine & (ranking.scores == ranking.scores[first])
    others[:first] = ~mine[:first]
    return int(others.sum()) + 1


def rows_of(
    models: Sequence[str],
    ranks: Sequence[int],
    right: Sequence[tuple[bool, bool]],
    p_values: Sequence[float],
    rate: float | None,
) -> tuple[ModelRow, ...]:
    """A row for all queries, and one for each of the `models`.

    `right`: whether the first image is the origin, and whether it is in the series of the origin.
    """
    groups = {"all": range(len(ranks))} | {
        model: [i for i, name in enumerate(models) if name == model] for model in sorted({*models})
    }
    rows = []
    for model, chosen in groups.items():
        some = torch.tensor([ranks[i] for i in chosen])
        called = [i for i in chosen if rate is not None and p_values[i] <= rate]

        def called_right(
            which: int, called: list[int] = called, count: int = len(some)
        ) -> tuple[float | None, float | None]:
            if rate is None:
                return None, None
            rightly = sum(right[i][which] for i in called)
            return rightly / count, (len(called) - rightly) / count

        rows.append(
            ModelRow(
                model,
                len(some),
                retrieval.mean_average_precision(some),
                retrieval.accuracy(some),
                dict(zip(CURVE, retrieval.rank_curve(some, CURVE), strict=True)),
                *called_right(0),
                sum(right[i][1] for i in chosen) / len(some),
                *called_right(1),
            )
        )
    return tuple(rows)
