"""Error rates of an attributor by source of images: the protocol of FLIPAD, Section 5.1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.protocol import as_stored
from wherefrom.attribution.result import CheckResult, EvaluationResult, SourceRow
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import are_known, contents_of, digest_bytes
from wherefrom.metrics.detection import balanced_accuracy, exact_interval, finite_auroc

OWN = "own"
NO_RECORD = (
    "this attributor does not record which other images it was fitted to (it was saved by an "
    "earlier version), so whether these images were among them could not be checked; fit it again "
    "to have it checked"
)


def evaluate(
    fitted: Attributor,
    own: Tensor,
    others: Mapping[str, Tensor],
    *,
    track: Track = quiet,
) -> EvaluationResult:
    """Judge own images and each named source, all (N, C, H, W); none may come from the fit.

    An `InputError` for an image that is in two of the sets, or among the others of the fit, and for
    own images of which none has a finite score.  Other images without one are counted (`unscored`)
    and left out of every share; a source without any has NaN for its shares.  `notes` of the result
    say what could not be checked.
    """
    if OWN in others:
        raise InputError(f"a source cannot be called {OWN!r}; give it another name")
    if not others or not len(own) or not all(len(images) for images in others.values()):
        raise InputError("evaluation needs own images and at least one other source, none empty")
    refuse_shared(own, others, fitted.image_shape, whose="the own images")
    refuse_seen(fitted, {OWN: own, **others})
    checks = {OWN: fitted.check(own, track=track)}
    checks |= {name: fitted.check(images, track=track) for name, images in others.items()}
    scores = {name: tuple(_scores(check)) for name, check in checks.items()}
    if fitted.experts:  # one scale for all, that of the threshold
        images = {OWN: own, **others}
        scores = {name: _finite(fitted.score(source)) for name, source in images.items()}
    if not scores[OWN]:
        raise InputError(
            f"none of the {len(own)} own images has a score that is a finite number, so nothing "
            "can be measured; check their values"
        )
    rejected = {
        name: sum(score > fitted.threshold for score in values) for name, values in scores.items()
    }
    own_share = rejected[OWN] / len(scores[OWN])

    def row(name: str) -> SourceRow:
        count = len(scores[name])
        share = rejected[name] / count if count else float("nan")
        low, high = exact_interval(rejected[name], count)
        mine = name == OWN
        return SourceRow(
            source=name,
            count=count,
            rejected=share,
            low=low,
            high=high,
            accuracy=1 - own_share if mine else balanced_accuracy(own_share, share),
            auroc=None if mine else finite_auroc(_tensor(scores[OWN]), _tensor(scores[name])),
            verdicts=checks[name].counts(),
            unscored=len(checks[name].images) - count,
        )

    return EvaluationResult(
        own=row(OWN),
        others=tuple(row(name) for name in others),
        scores=scores,
        threshold=fitted.threshold,
        false_negative_rate=fitted.config.false_negative_rate,
        attributor=fitted.describe(),
        notes=() if fitted.seen is not None else (NO_RECORD,),
    )


def refuse_seen(fitted: Attributor, sources: Mapping[str, Tensor]) -> None:
    """An `InputError` if an image of a source was given to the fit, by its pixels.

    The attributor keeps 64 bits of each one's digest (`core.contents`); an older one keeps none,
    and nothing is refused.  A lossy copy of such an image is another image.
    """
    if fitted.seen is None:
        return
    used = "images" if "own" in fitted.provenance else "other images"
    for name, images in sources.items():
        known = are_known(contents_of(as_stored(images, fitted.image_shape)), fitted.seen)
        if bool(known.any()):
            raise InputError(
                f"{int(known.sum())} of the {len(images)} images of {name!r} were among the {used} "
                "that this attributor was fitted to, which would flatter it; give images "
                "that it has not seen"
            )


def refuse_shared(
    images: Tensor, sources: Mapping[str, Tensor], shape: tuple[int, int, int], *, whose: str
) -> None:
    """An `InputError` if an image of a named source is also among `images`."""

    def contents(some: Tensor) -> set[str]:
        return {digest_bytes(image.numpy().tobytes()) for image in as_stored(some, shape)}

    known = contents(images)
    for name, some in sources.items():
        shared = len(known & contents(some))
        if shared:
            raise InputError(
                f"{shared} of the {len(some)} images of {name!r} are also among {whose}; take them "
                "out of one of the two"
            )


def _scores(check: CheckResult) -> list[float]:
    return [image.score for image in check.images if image.score is not None]


def _finite(scores: Tensor) -> tuple[float, ...]:
    return tuple(scores[scores.isfinite()].tolist())


def _tensor(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
