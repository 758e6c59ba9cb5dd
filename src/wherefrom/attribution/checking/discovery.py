"""A folder judged as a whole, at a rate of false discoveries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from wherefrom.attribution.result import CheckResult, ImageVerdict
from wherefrom.calibration.discovery import discoveries
from wherefrom.calibration.verdict import Verdict

BEHIND: dict[Verdict, Callable[[ImageVerdict], float | None]] = {
    Verdict.NOT_OURS: lambda image: image.p_value,
    Verdict.OURS: lambda image: image.p_other,
}


def control_discoveries(result: CheckResult, rate: float) -> CheckResult:
    """The result with a false-discovery rate of at most `rate` for each answer.

    On average over folders at most that share of "not made by this model" are unaltered images of
    the model, and of "made by this model" images like the others of the fit: what the two p-values
    are about, and no more.  Each image alone is called by its own error rate, so that in a folder
    of 1,000 own images some are called "not made by this model" by chance.  Here the p-values
    behind an answer are taken together (`calibration.discovery`), those of all images to whose
    files it was open; an answer that does not stand becomes "cannot say".

    An image with another verdict counts as p = 1.  Otherwise it could help the answers of others to
    stand without being one of them, and the rate would hold for a set that is not reported.
    """
    images = list(result.images)
    for verdict, p_of in BEHIND.items():
        asked = [
            (i, p)
            for i, image in enumerate(result.images)
            if verdict in image.possible and (p := p_of(image)) is not None
        ]
        given = [result.images[i].verdict is verdict for i, _ in asked]
        p_values = [p if gave else 1.0 for (_, p), gave in zip(asked, given, strict=True)]
        stands = discoveries(p_values, rate).tolist()
        for (i, p), gave, stays in zip(asked, given, stands, strict=True):
            if gave and not stays:
                reason = (
                    f"alone it would be called {str(verdict)!r} (p = {p:.3g}), but among "
                    f"{len(asked)} images judged together that is not rare enough for a "
                    f"false-discovery rate of {rate:g}"
                )
                images[i] = dataclasses.replace(
                    images[i], verdict=Verdict.CANNOT_SAY, reason=reason
                )
    return dataclasses.replace(result, images=tuple(images), false_discovery_rate=rate)
