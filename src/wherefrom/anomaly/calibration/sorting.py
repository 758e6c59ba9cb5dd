"""A folder of generated images parted into those to keep and those that look broken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wherefrom.anomaly.calibration.judgement import ImageJudgement
from wherefrom.data.files.sorting import part_files

KEEP, BROKEN = "keep", "broken"


def sort_images(
    judged: Sequence[ImageJudgement], out: Path, *, reasons: str = "", copy: bool = False
) -> dict[str, int]:
    """Link each image into `out`/keep or `out`/broken; how many went where.

    `out` is a new folder, there whole or not at all; `reasons` becomes its reasons.csv.  Two images
    of one name in one part get their place in it in front.  With `copy` the files are copied.
    """
    parts = {
        KEEP: [Path(row.name) for row in judged if not row.flagged],
        BROKEN: [Path(row.name) for row in judged if row.flagged],
    }
    part_files(parts, out, notes={"reasons.csv": reasons}, copy=copy)
    return {part: len(files) for part, files in parts.items()}
