"""What attribution promises, simulated: images carry their scores, everything else is real.

The world: an image's first pixels spell a number, and the scorer reads it.  So the scores of own
and other images have known laws, and `check`, the calibration and what follows run as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from promise import Promise, Values
from scipy.stats import norm
from torch import Tensor

from wherefrom.attribution.checking.discovery import control_discoveries
from wherefrom.attribution.checking.fitted import Attributor, HeldOutScores, score_stored
from wherefrom.attribution.checking.open_set import OpenSetAnswer, identify
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.protocol import Scorer
from wherefrom.attribution.result import judge_together
from wherefrom.calibration.verdict import Verdict
from wherefrom.data.decoding.images import Carrier

SHAPE = (1, 4, 4)
DIGITS = 6  # bytes that spell a score
OWN, OTHER, RIVAL = 0.0, 3.0, 5.0  # means of normal scores of deviation 1
SIBLINGS = {"near": 1.5, "far": 2.5}  # the same of two kinds of self-made siblings
FILES = {
    "png": Carrier("PNG", True, None, SHAPE[1:]),
    "jpeg": Carrier("JPEG", False, 90, SHAPE[1:]),
    "poor jpeg": Carrier("JPEG", False, 20, SHAPE[1:]),
}


@dataclass(frozen=True)
class Spelled(Scorer):
    """Reads the score that an image carries."""

    def score(self, images: Tensor) -> Tensor:
        """(N,) float64."""
        bytes_ = (images.double() * 255).round().flatten(1)[:, :DIGITS]
        powers = 256.0 ** -torch.arange(1, DIGITS + 1, dtype=torch.float64)
        quantiles = (bytes_ @ powers).clamp(1e-14, 1 - 1e-14)
        return torch.from_numpy(norm.ppf(quantiles.numpy()) * 3 + 2)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Nothing to keep."""
        return {}, {}


def images_of(scores: Values) -> Tensor:
    """uint8 (N, *SHAPE) that carry these scores; the other pixels are grey."""
    rest = np.asarray(norm.cdf((scores - 2) / 3))
    pixels = np.full((len(scores), SHAPE[1] * SHAPE[2]), 128, dtype=np.uint8)
    for place in range(DIGITS):
        rest = rest * 256
        pixels[:, place] = np.floor(rest)
        rest = rest - np.floor(rest)
    return torch.from_numpy(pixels).reshape(-1, *SHAPE)


def attributor(rng: np.random.Generator, own: int, other: int, **settings: float) -> Attributor:
    """Calibrated on fresh own and other images."""
    config = AttributionConfig(calibration_samples=own, **settings)  # type: ignore[arg-type]
    scorer = Spelled()
    held = [
        score_stored(scorer, images_of(rng.normal(m, 1, n)))
        for m, n in ((OWN, own), (OTHER, other))
    ]
    return Attributor(
        method="world",
        config=config,
        scorer=scorer,
        image_shape=SHAPE,
        own_scores=held[0],
        other_scores=held[1],
        provenance={},
    )


def called(fitted: Attributor, scores: Values, answer: Verdict) -> Values:
    """Whether each image got that answer."""
    rows = fitted.check(images_of(scores)).images
    return np.array([float(row.verdict is answer) for row in rows])


def _called_once(replays: int, seed: int, mean: float, answer: Verdict) -> Values:
    """Whether one new image of that mean gets the answer, once per calibration."""
    rng = np.random.default_rng(seed)
    rates = {"false_negative_rate": 0.05, "false_positive_rate": 0.05}
    return np.concatenate(
        [
            called(attributor(rng, 39, 39, **rates), rng.normal(mean, 1, 1), answer)
            for _ in range(replays)
        ]
    )


def own_rejected(replays: int, seed: int) -> Values:
    return _called_once(replays, seed, OWN, Verdict.NOT_OURS)


def others_accused(replays: int, seed: int) -> Values:
    return _called_once(replays, seed, OTHER, Verdict.OURS)


def siblings_accused(replays: int, seed: int) -> Values:
    """Whether a new image by the sibling nearest to the model is called its own.

    The guard against the others alone lets 44 % of such images pass.
    """
    rng = np.random.default_rng(seed)
    rates = {"false_negative_rate": 0.05, "false_positive_rate": 0.05, "sibling_rate": 0.05}
    values = []
    for _ in range(replays):
        fitted = attributor(rng, 39, 39, **rates)
        held = {k: fitted.score(images_of(rng.normal(m, 1, 39))) for k, m in SIBLINGS.items()}
        guarded = replace(fitted, sibling_scores=held)
        values.append(called(guarded, rng.normal(SIBLINGS["near"], 1, 1), Verdict.OURS))
    return np.concatenate(values)


def unlucky_calibrations(replays: int, seed: int) -> Values:
    """Whether this calibration's true rate, known in this world, exceeds the promised one."""
    rng = np.random.default_rng(seed)
    settings = {"false_negative_rate": 0.05, "false_positive_rate": 0.05, "confidence": 0.9}
    cuts = [attributor(rng, 120, 39, **settings).threshold for _ in range(replays)]
    return (norm.sf(np.array(cuts) - OWN) > 0.05).astype(float)


def _false_share(replays: int, seed: int, answer: Verdict, parts: dict[str, Any]) -> Values:
    """Of the answers in one folder, the share given to images that it is wrong for."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(replays):
        rates = {"false_negative_rate": 0.05, "false_positive_rate": 0.05}
        fitted = attributor(rng, 200, 200, **rates)
        if parts.get("further"):  # the attributor knows scaled files, so it judges by state
            scaled = HeldOutScores(fitted.own_scores, fitted.other_scores)
            fitted = replace(fitted, altered={"scaled": scaled})
        means, kinds, wrong = parts["means"], parts["files"], parts["wrong"]
        counts = parts["counts"]
        scores = np.concatenate(
            [rng.normal(m, s, n) for (m, s), n in zip(means, counts, strict=True)]
        )
        carriers = [FILES[k] for k, n in zip(kinds, counts, strict=True) for _ in range(n)]
        false = np.repeat(wrong, counts)
        checked = fitted.check(images_of(scores), carriers=carriers)
        rows = control_discoveries(checked, 0.05).images
        given = np.array([row.verdict is answer for row in rows])
        values.append(float((given & false).sum()) / max(1, int(given.sum())))
    return np.array(values)


def false_rejections(replays: int, seed: int) -> Values:
    """120 own PNG files, 120 foreign JPEG files, which cannot be rejected, 20 foreign PNG files."""
    parts = {
        "means": [(OWN, 1), (RIVAL, 1), (RIVAL, 1)],
        "files": ["png", "jpeg", "png"],
        "counts": [120, 120, 20],
        "wrong": [True, False, False],
    }
    return _false_share(replays, seed, Verdict.NOT_OURS, parts)


def false_accusations(replays: int, seed: int) -> Values:
    """150 images like the others, 150 own ones in a state that was not calibrated, 20 own."""
    parts = {
        "means": [(OTHER, 1), (OWN, 1), (OWN, 1)],
        "files": ["png", "poor jpeg", "png"],
        "counts": [150, 150, 20],
        "wrong": [True, False, False],
        "further": True,
    }
    return _false_share(replays, seed, Verdict.OURS, parts)


def own_sets_rejected(replays: int, seed: int) -> Values:
    """A whole table of the model's own rows, judged as one at 0.05."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(replays):
        fitted = attributor(rng, 99, 39, false_negative_rate=0.1, false_positive_rate=0.05)
        rows = fitted.check(images_of(rng.normal(OWN, 1, 40))).images
        p_values = [row.p_value for row in rows if row.p_value is not None]
        together = judge_together(p_values, calibration=99, rate=fitted.smallest_p_value("clean"))
        values.append(float(together.p_value <= 0.05))
    return np.array(values)


def family_errors(replays: int, seed: int) -> Values:
    """One image that is like every model's others is assigned to one of five models."""
    rng = np.random.default_rng(seed)
    rates = {"false_negative_rate": 0.05, "false_positive_rate": 0.05}
    values = []
    for _ in range(replays):
        models = {f"model {k}": attributor(rng, 39, 99, **rates) for k in range(5)}
        verdicts = {
            name: fitted.check(images_of(rng.normal(OTHER, 1, 1))).images[0]
            for name, fitted in models.items()
        }
        answer = identify(verdicts, family_error=0.05).answer
        values.append(float(answer is OpenSetAnswer.ONE))
    return np.array(values)


PROMISES = (
    Promise(
        "own image rejected",
        "an image of the model is called 'not made by this model' with probability at most the "
        "false-negative rate",
        "it arrives unaltered, as the calibration images",
        "attribution/checking/fitted.py, calibration/conformal.py",
        0.05,
        own_rejected,
    ),
    Promise(
        "other image accused",
        "an image like the others of the fit is called 'made by this model' with probability at "
        "most the false-positive rate",
        "it is exchangeable with the other images that were held out",
        "attribution/checking/fitted.py, calibration/conformal.py",
        0.05,
        others_accused,
    ),
    Promise(
        "sibling image accused",
        "an image like a self-made sibling's, of any of its kinds, is called 'made by this model' "
        "with probability at most the sibling rate",
        "its content is the model's, and its layer is drawn as the held-out siblings' were; a "
        "sibling that somebody trained is not promised, but measured",
        "attribution/training/siblings.py, attribution/training/held_out.py",
        0.05,
        siblings_accused,
    ),
    Promise(
        "unlucky calibration",
        "with confidence 0.9, the rate of rejected own images is above the false-negative rate for "
        "at most one fit in ten",
        "continuous scores",
        "calibration/conformal.py: guaranteed_rate",
        0.1,
        unlucky_calibrations,
    ),
    Promise(
        "false rejections in a folder",
        "of the answers 'not made by this model', at most the false-discovery rate are wrong on "
        "average",
        "own files are unaltered; any number of files that cannot get the answer lie beside them",
        "attribution/checking/discovery.py",
        0.05,
        false_rejections,
        suite=20,
    ),
    Promise(
        "false accusations in a folder",
        "of the answers 'made by this model', at most the false-discovery rate are images like the "
        "others on average",
        "these are exchangeable with the others held out; images of any other kind lie beside them",
        "attribution/checking/discovery.py",
        0.05,
        false_accusations,
        suite=30,
    ),
    Promise(
        "own table rejected",
        "a whole table of the model's own rows has a p-value of at most 0.05 with that probability",
        "its rows are independent draws of the model",
        "attribution/result.py",
        0.05,
        own_sets_rejected,
    ),
    Promise(
        "image assigned to one of several models",
        "an image like every model's others is assigned to any of them with probability at most "
        "the family-wise error",
        "it is exchangeable with the others of each fit",
        "attribution/checking/open_set.py, calibration/family.py",
        0.05,
        family_errors,
        suite=40,
    ),
)
