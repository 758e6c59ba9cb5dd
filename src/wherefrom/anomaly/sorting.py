"""A folder of generated images parted into those to keep and those that look broken."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from wherefrom.anomaly.judgement import ImageJudgement
from wherefrom.core.errors import InputError
from wherefrom.core.store import scratch_beside

KEEP, BROKEN = "keep", "broken"


def sort_images(
    judged: Sequence[ImageJudgement], out: Path, *, reasons: str = "", copy: bool = False
) -> dict[str, int]:
    """Link each image into `out`/keep or `out`/broken; how many went where.

    `out` is a new folder, there whole or not at all; `reasons` becomes its reasons.csv.  Two images
    of one name get their place in the list in front.  With `copy` the files are copied.
    """
    counts = {KEEP: 0, BROKEN: 0}
    try:
        with scratch_beside(out) as scratch:
            for part in counts:
                (scratch / part).mkdir()
            for row, name in zip(judged, _names(judged), strict=True):
                part = BROKEN if row.flagged else KEEP
                counts[part] += 1
                source, target = Path(row.name).resolve(), scratch / part / name
                if copy:
                    shutil.copyfile(source, target)
                else:
                    target.symlink_to(source)
            (scratch / "reasons.csv").write_text(reasons, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    return counts


def _names(judged: Sequence[ImageJudgement]) -> Iterator[str]:
    often = Counter(Path(row.name).name.lower() for row in judged)
    for place, row in enumerate(judged, start=1):
        name = Path(row.name).name
        yield name if often[name.lower()] == 1 else f"{place:06d}-{name}"
