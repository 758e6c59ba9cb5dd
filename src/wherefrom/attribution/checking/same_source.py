"""A folder judged as one source: are its images, taken together, too unlike the model's?

Where one image says little, as after compression, many images of one source say much.  The p-values
of the images are combined (`calibration.combination`), each from the calibration of the state in
which its file arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.result import CheckResult, ImageVerdict, SameSource
from wherefrom.calibration.combination import combined_p_value
from wherefrom.calibration.verdict import Verdict
from wherefrom.data.files.listing import holds_images
from wherefrom.data.files.opening import is_folder

FILES = "the files given"
IMAGES = "the images given"
ALTERED = "its file was altered in a way that makes own images fail, too"


def judge_sources(
    result: CheckResult, fitted: Attributor, paths: Sequence[Path] | None
) -> CheckResult:
    """The result with one answer for each folder or archive in `paths`, and one for all files.

    Without `paths` all images are one source.  If a source is the model, its images are unaltered
    but for the states that were calibrated, and were made independently of one another, then it is
    rejected with probability at most the false-negative rate.
    """
    sources: dict[str, list[ImageVerdict]] = {}
    if paths is None:
        sources[IMAGES] = list(result.images)
    else:
        given = list(dict.fromkeys(paths))
        folders = [path for path in given if is_folder(path) or holds_images(path)]
        for folder in folders:
            rows = result.images
            sources[str(folder)] = [r for r in rows if Path(r.name).is_relative_to(folder)]
        files = {str(path) for path in given if path not in folders}
        if files:
            sources[FILES] = [row for row in result.images if row.name in files]
    answers = tuple(judge_source(name, rows, fitted) for name, rows in sources.items())
    return replace(result, same_source=answers)


def judge_source(name: str, rows: Iterable[ImageVerdict], fitted: Attributor) -> SameSource:
    """One p-value for images of one source.

    Left out are images that could not be judged, those whose file alone makes own images fail, and
    copies of an image that counts already: they are no evidence of their own.
    """
    p_values: dict[str, list[float]] = {}
    left_out: list[tuple[str, str]] = []
    first_names: dict[str, str] = {}
    for row in rows:
        if row.p_value is None or row.condition is None or Verdict.NOT_OURS not in row.possible:
            left_out.append((row.name, row.reason or ALTERED))
        elif row.digest is not None and row.digest in first_names:
            left_out.append((row.name, f"is a copy of {first_names[row.digest]}"))
        else:
            first_names[row.digest or row.name] = row.name
            p_values.setdefault(row.condition, []).append(row.p_value)
    groups = [(p, len(fitted.calibration_of(state).own)) for state, p in p_values.items()]
    return SameSource(
        source=name,
        images=len(first_names),
        p_value=combined_p_value(groups) if groups else None,
        rate=fitted.config.false_negative_rate,
        states={state: len(p) for state, p in sorted(p_values.items())},
        left_out=tuple(left_out),
    )
