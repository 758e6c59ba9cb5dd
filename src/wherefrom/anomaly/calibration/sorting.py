"""Sorting generated images into two folders: those to keep and those that look broken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from wherefrom.data.sorting import part_files

KEEP, BROKEN = "keep", "broken"


class JudgedImage(Protocol):
    """An image file, and whether it is flagged."""

    @property
    def name(self) -> str:
        """Its path."""

    @property
    def flagged(self) -> bool:
        """Whether it looks broken."""


def sort_images(
    judgements: Sequence[JudgedImage],
    out: Path,
    *,
    reasons: str = "",
    copy: bool = False,
) -> dict[str, int]:
    """Link each image into `out`/keep or `out`/broken; returns how many are in each.

    `out` is a new folder, there whole or not at all; `reasons` becomes its reasons.csv.  Of two
    images of one name in one part, each gets its number in front.  `copy`: copies, not links.
    """
    parts = {
        KEEP: [Path(row.name) for row in judgements if not row.flagged],
        BROKEN: [Path(row.name) for row in judgements if row.flagged],
    }
    part_files(parts, out, notes={"reasons.csv": reasons}, copy=copy)
    return {part: len(files) for part, files in parts.items()}
