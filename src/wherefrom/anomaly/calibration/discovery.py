"""Control of the false-discovery rate of the flags in a folder of images.

Each image alone is flagged at its own rate of false alarms, so that among 1,000 natural images some
are flagged by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from wherefrom.anomaly.calibration.judgement import ImageJudgement
from wherefrom.calibration.discovery import discoveries


def control_discoveries(judgements: Sequence[ImageJudgement], rate: float) -> list[ImageJudgement]:
    """The judgements with a false-discovery rate of at most `rate` (0 to 1) for the flags.

    On average over folders at most that share of the flagged images are like the real images of the
    calibration.  A flag that does not stand among all images judged together is taken back, with
    the reason; its p-value stays.  An image that is not flagged counts as p = 1.  An `InputError`
    for a rate outside (0, 1).
    """
    stands = discoveries([row.p_value if row.flagged else 1.0 for row in judgements], rate)
    return [
        dataclasses.replace(row, flagged=False, reason=_taken_back(row, len(judgements), rate))
        if row.flagged and not stays
        else row
        for row, stays in zip(judgements, stands.tolist(), strict=True)
    ]


def _taken_back(row: ImageJudgement, count: int, rate: float) -> str:
    return (
        f"alone it would be flagged (p = {row.p_value:.3g}), but among {count} images judged "
        f"together that is not rare enough for a false-discovery rate of {rate:g}; {row.reason}"
    )
