"""Merge small segments, and remove files that no manifest row names.

Small segments are merged as in a log-structured tree: as soon as `FAN_IN` segments have about the
same size.  A vector is then rewritten once per factor of `FAN_IN` in size, and an index that grew
by many small additions has few files.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from wherefrom.origin.index.manifest import Place
from wherefrom.origin.index.segments import (
    SCRATCH_SUFFIX,
    SUFFIX,
    Float16,
    SegmentFile,
    SegmentInfo,
    write_segment,
)

Held = tuple[Place, SegmentFile]
FAN_IN = 8
SEGMENT_ROWS = 2**20  # a merged segment has at most so many rows
COPY_ROWS = 8192


def like_sized(held: Sequence[Held]) -> list[Held]:
    """`FAN_IN` segments or more of about one size, the smallest size first; none if there are none.

    Sizes are alike within a factor of `FAN_IN`.
    """
    tiers: dict[int, list[Held]] = defaultdict(list)
    for place, segment in held:
        if place.info.rows < SEGMENT_ROWS:
            tiers[int(math.log(place.info.rows, FAN_IN))].append((place, segment))
    full = [tier for tier, members in tiers.items() if len(members) >= FAN_IN]
    return tiers[min(full)] if full else []


def is_worthwhile(place: Place, segment: SegmentFile) -> bool:
    """Whether a full compaction rewrites a segment: it is small, or holds deleted vectors."""
    return place.info.rows < SEGMENT_ROWS or len(place.ids) < place.info.rows


def would_change(chosen: Sequence[Held]) -> bool:
    """Whether merging these segments makes fewer files, or drops a deleted vector."""
    alive = sum(len(place.ids) for place, _ in chosen)
    rows = sum(place.info.rows for place, _ in chosen)
    return alive < rows or len(chosen) > -(-alive // SEGMENT_ROWS)


def write_merged(
    folder: Path, chosen: Sequence[Held], *, dim: int
) -> list[tuple[SegmentInfo, npt.NDArray[np.int64]]]:
    """New segment files with the live vectors of the old ones in order of id, and those ids.

    The old files are verified first: copying must not give damage a digest of its own.
    """
    for _, segment in chosen:
        segment.verify(again=False)
    ids = np.concatenate([place.ids for place, _ in chosen])
    rows = np.concatenate([place.rows for place, _ in chosen])
    source = np.repeat(np.arange(len(chosen)), [len(place.ids) for place, _ in chosen])
    order = np.argsort(ids)
    written = []
    for first in range(0, len(order), SEGMENT_ROWS):
        some = order[first : first + SEGMENT_ROWS]
        chunks = _copied(chosen, source[some], rows[some])
        written.append((write_segment(folder, chunks, dim=dim, rows=len(some)), ids[some]))
    return written


def _copied(
    chosen: Sequence[Held], source: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> Iterator[Float16]:
    for first in range(0, len(rows), COPY_ROWS):
        where, at = source[first : first + COPY_ROWS], rows[first : first + COPY_ROWS]
        chunk = np.empty((len(at), chosen[0][1].rows.shape[1]), dtype="<f2")
        for number in np.unique(where):
            here = where == number
            chunk[here] = chosen[number][1].rows[torch.from_numpy(at[here])].numpy()
        yield chunk


def sweep(folder: Path, named: Collection[str]) -> None:
    """Remove the segment and scratch files of `folder` that are not among `named`."""
    for path in folder.iterdir():
        if path.name.endswith((SUFFIX, SUFFIX + SCRATCH_SUFFIX)) and path.name not in named:
            with suppress(OSError):
                path.unlink()
