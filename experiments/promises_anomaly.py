"""What anomaly promises, simulated: scores of known law, everything else is real.

Two worlds.  `Drawn` is an encoder whose complexity and vulnerability of an image are drawn by its
pixels, so that damage only draws them again: no score can tell it.  `scores_of` makes the scores
of whole sets, whose points (C, V) have a known law.
"""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from promise import Promise, Values
from torch import Tensor, nn

from wherefrom.anomaly import AnomalyConfig, ImageScores, calibrate
from wherefrom.anomaly.calibration.assumption import AssumptionCheck, AssumptionConfig
from wherefrom.anomaly.calibration.discovery import control_discoveries
from wherefrom.anomaly.calibration.fitted import fit_calibration
from wherefrom.anomaly.calibration.judgement import ImageJudgement
from wherefrom.anomaly.comparison.frechet_order import order_by_frechet
from wherefrom.anomaly.comparison.generators import ComparisonConfig, compare_generators
from wherefrom.anomaly.measuring.features import Measurement
from wherefrom.anomaly.measuring.items import digest_pixels
from wherefrom.anomaly.method import score_progressively
from wherefrom.core.rng import stream
from wherefrom.encoders.encoder import EncoderIdentity
from wherefrom.encoders.features import FeatureEncoder, make_feature_encoder
from wherefrom.metrics.ks2d_inference import equal_distance_p_value

SIDE = 8
RATE = 0.05
ENCODER = EncoderIdentity("drawn", "sha256:0", "sha256:1")


LAST = threading.local()  # radius and speed of the picture that was seen last


class Drawn(nn.Module):
    """Features on two circles whose radius and speed are drawn by the pixels of the image.

    Complexity is proportional to the speed, vulnerability about to radius times speed.  Only a
    picture of 8 bits draws them; its perturbed neighbours, which are none, keep them.
    """

    def __init__(self, spread: float = 0.2) -> None:
        super().__init__()
        w = torch.randn(3 * SIDE * SIDE, 2, generator=stream(0, "world", "axes"))
        self.w = nn.Parameter(5 * w / torch.linalg.vector_norm(w, dim=0))
        self.spread = spread

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) -> (N, 4)."""
        levels = x[:1].detach() * 255
        if len(x) == 1 and bool(((levels - levels.round()).abs() < 1e-3).all()):
            rng = stream(0, "world", digest_pixels(x[0].detach()))
            LAST.law = (self.spread * torch.randn(2, generator=rng)).exp().tolist()
        radius, speed = getattr(LAST, "law", (1.0, 1.0))
        t = speed * (x.flatten(1) @ self.w.to(x))
        return radius * torch.cat([t.cos(), t.sin()], dim=1)


@functools.cache
def world(spread: float = 0.2) -> FeatureEncoder:
    """The encoder of this world."""
    return make_feature_encoder(Drawn(spread), kind="drawn", resolution=SIDE)


@contextmanager
def pictures(rng: np.random.Generator, count: int) -> Iterator[list[Path]]:
    """Files of random pictures, all different."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{row:04d}.png" for row in range(count)]
        for path in paths:
            Image.fromarray(rng.integers(64, 192, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
        yield paths


def scores_of(
    rng: np.random.Generator, count: int, shift: tuple[float, float] = (0.0, 0.0)
) -> ImageScores:
    """Scores of `count` images: C and V independent normals, moved by so many deviations."""
    z = torch.from_numpy(rng.normal(size=(count, 2)) + shift)
    blank = torch.full((count,), 0.01, dtype=torch.float64)
    mark = int(rng.integers(2**62))
    return ImageScores(
        complexity=0.1 + 0.01 * z[:, 0],
        complexity_error=blank,
        vulnerability=20 + z[:, 1],
        vulnerability_error=blank,
        features=torch.from_numpy(rng.normal(size=(count, 3))).float(),
        names=tuple(f"{i}.png" for i in range(count)),
        digests=tuple(f"{mark} {i}" for i in range(count)),
        skipped=(),
        directions=torch.full((count,), 8),
        still=torch.zeros(count, dtype=torch.float64),
        clipped=torch.zeros(count, dtype=torch.float64),
        encoder=ENCODER,
        config=AnomalyConfig(),
        seed=0,
    )


def real_images_flagged(replays: int, seed: int) -> Values:
    """One real image, judged by the direction-free score among 39 held-out ones."""
    rng = np.random.default_rng(seed)
    flags = []
    for _ in range(replays):
        fitted = fit_calibration(scores_of(rng, 59))
        flags.append(float(fitted.judge(scores_of(rng, 1), false_alarms=RATE)[0].flagged))
    return np.array(flags)


def unlucky_calibrations(replays: int, seed: int) -> Values:
    """Whether a calibration with confidence 0.9 flags more than the rate of all real images."""
    from scipy.special import ndtri

    rng = np.random.default_rng(seed)
    highest = torch.from_numpy(20 + ndtri((np.arange(1800, 2000) + 0.5) / 2000))  # the law of V
    unlucky = []
    for _ in range(replays):
        fitted = fit_calibration(scores_of(rng, 225), decides="vulnerability")
        tail = replace(scores_of(rng, 200), vulnerability=highest)
        rows = fitted.judge(tail, false_alarms=fitted.highest_p_value(RATE, 0.9))
        unlucky.append(float(sum(row.flagged for row in rows) / 2000 > RATE))
    return np.array(unlucky)


def flags_in_a_folder(replays: int, seed: int) -> Values:
    """The share of real images among the flagged ones of a folder: 40 real, 10 odd ones."""
    rng = np.random.default_rng(seed)
    wrong = []
    for _ in range(replays):
        fitted = fit_calibration(scores_of(rng, 150))
        rows = fitted.judge(scores_of(rng, 40), false_alarms=0.2)
        rows += fitted.judge(scores_of(rng, 10, shift=(-4.0, 4.0)), false_alarms=0.2)
        flags = [row.flagged for row in control_discoveries(rows, 0.1)]
        wrong.append(sum(flags[:40]) / max(1, sum(flags)))
    return np.array(wrong)


class DrawnMeasurements:
    """A cache that knows every image: C spreads widely over directions, little over images."""

    def get(self, key: str) -> Measurement:
        """Eight draws of C and one of V, named by the image."""
        z = torch.randn(9, generator=stream(0, "world", key), dtype=torch.float64)
        return Measurement(
            features=torch.zeros(2),
            complexities=0.1 * (0.8 * z[:8]).exp(),
            still=torch.zeros(8, dtype=torch.int64),
            vulnerabilities=20 * (0.1 * z[8:]).exp(),
            clipped=0.0,
        )

    def put(self, key: str, result: Measurement) -> None:
        """Nothing is new."""


def judged_early(
    decides: str, replays: int, seed: int
) -> Iterator[tuple[list[ImageJudgement], Values]]:
    """20 real images, few draws first, by 40 held-out ones; and how many draws each has."""
    rng = np.random.default_rng(seed)
    config, cache = AnomalyConfig(directions=8, restarts=1, steps=2), DrawnMeasurements()
    for _ in range(replays):
        with pictures(rng, 80) as paths:
            fitted, _ = calibrate(
                paths[:60], world(), config=config, assumption=None, decides=decides, cache=cache
            )
            scores = score_progressively(
                paths[60:], world(), fitted, false_alarms=RATE, cache=cache
            )
        rows = fitted.judge(scores, false_alarms=RATE, progressive=True)
        yield rows, scores.directions.numpy()


def flagged_early(replays: int, seed: int) -> Values:
    judgements = judged_early("as_i", replays, seed)
    return np.array([np.mean([row.flagged for row in rows]) for rows, _ in judgements])


def p_values_early(replays: int, seed: int) -> Values:
    judgements = judged_early("vulnerability", replays, seed)
    return np.array([np.mean([row.p_as_i <= 0.1 for row in rows]) for rows, _ in judgements])


@functools.lru_cache(maxsize=1)  # two promises ask for it
def checks_without_effect(replays: int, seed: int) -> tuple[AssumptionCheck, ...]:
    """The assumption check of 24 real images whose damage draws their scores again."""
    rng = np.random.default_rng(seed)
    config = AnomalyConfig(directions=1, restarts=1, steps=2, attack_steps=1)
    few = AssumptionConfig(grades=1, directions=1)
    checks = []
    for _ in range(replays):
        with pictures(rng, 24) as paths:
            fitted, _ = calibrate(paths, world(), config=config, assumption=few)
        if fitted.check is not None:
            checks.append(fitted.check)
    return tuple(checks)


def joint_auc_without_effect(replays: int, seed: int) -> Values:
    return np.array([check.mean["joint"] for check in checks_without_effect(replays, seed)])


def verdicts_without_effect(replays: int, seed: int) -> Values:
    checks = checks_without_effect(replays, seed)
    return np.array([float(check.verdict != "unclear") for check in checks])


def equal_generators_told_apart(count: int, replays: int, seed: int) -> Values:
    """Two generators, equally far from the real images in different directions."""
    rng = np.random.default_rng(seed)
    rejections = []
    for row in range(replays):
        real, a, b = (rng.normal(size=(count, 2)) + m for m in ((0, 0), (1, 0), (0, 1)))
        rejections.append(float(equal_distance_p_value(real, a, b, draws=199, seed=row) <= RATE))
    return np.array(rejections)


def told_apart_by_frechet(count: int, replays: int, seed: int) -> Values:
    """Two generators of one law of features, whose images differ much in how far out they lie."""
    rng = np.random.default_rng(seed)
    apart = []
    for row in range(replays):
        sets = {name: scores_of(rng, count) for name in ("real", "a", "b")}
        for name, scores in sets.items():
            spread = torch.from_numpy(rng.lognormal(size=(count, 1))).float()
            scores.features.mul_(spread).add_(0.5 * (name != "real"))
        order = order_by_frechet(sets.pop("real"), sets, error_rate=RATE, seed=row)
        apart.append(float(len(order.ranking.groups) > 1))
    return np.array(apart)


def real_generators_told_from_real(generators: int, replays: int, seed: int) -> Values:
    """Whether any of several generators, all like the real images, is told from them."""
    rng = np.random.default_rng(seed)
    config = ComparisonConfig(draws=199)
    rejections = []
    for row in range(replays):
        sets = {f"generator {k}": scores_of(rng, 30) for k in range(generators)}
        rows: Sequence[float] = [
            row.p_together
            for row in compare_generators(
                scores_of(rng, 30), sets, config=config, seed=row
            ).generators
        ]
        rejections.append(float(min(rows) <= RATE))
    return np.array(rejections)


PROMISES = (
    Promise(
        "real image flagged",
        "a real image is flagged with probability at most the false-alarm rate",
        "it is like the real images of the calibration",
        "anomaly/calibration/fitted.py, calibration/conformal.py",
        RATE,
        real_images_flagged,
    ),
    Promise(
        "unlucky calibration of naturalness",
        "with confidence 0.9, more than the false-alarm rate of real images are flagged for at "
        "most one calibration in ten",
        "they are like the real images of the calibration; continuous scores",
        "anomaly/calibration/fitted.py: highest_p_value, calibration/conformal.py: guaranteed_rate",
        0.1,
        unlucky_calibrations,
        suite=40,
    ),
    Promise(
        "real images among the flagged ones of a folder",
        "of the images flagged in a folder at most the false-discovery rate are like the real "
        "images on average",
        "the images are independent of each other",
        "anomaly/calibration/discovery.py, calibration/discovery.py",
        0.1,
        flags_in_a_folder,
        suite=40,
    ),
    Promise(
        "real image flagged when few draws are tried first",
        "a real image is flagged with probability at most the false-alarm rate, also when the "
        "clear cases are measured with fewer draws",
        "it is like the real images of the calibration",
        "anomaly/method.py: score_progressively",
        RATE,
        flagged_early,
        suite=20,
    ),
    Promise(
        "p-value when few draws are tried first",
        "a real image has a p-value of at most 0.1 with that probability, also when it was "
        "measured with fewer draws",
        "it is like the real images of the calibration",
        "anomaly/calibration/fitted.py: reference_points",
        0.1,
        p_values_early,
        suite=12,
    ),
    Promise(
        "assumption check where damage has no effect",
        "the direction-free score's AUC is 0.5 on average where damage leaves it as it was",
        "damaged and whole images have one law of (C, V)",
        "anomaly/calibration/assumption.py, anomaly/calibration/cloud.py: without_each",
        0.5,
        joint_auc_without_effect,
        suite=6,
    ),
    Promise(
        "verdict of the assumption check where damage has no effect",
        "AS-i is said to point the right or the wrong way with probability at most 0.05 where it "
        "points nowhere",
        "damaged and whole images have one law of (C, V)",
        "anomaly/calibration/assumption.py: verdict",
        RATE,
        verdicts_without_effect,
        suite=6,
    ),
    Promise(
        "two equal generators told apart",
        "two generators that are equally far from the real images are told apart with probability "
        "at most the error rate, at 60 images each",
        "independent images",
        "metrics/ks2d_inference.py: equal_distance_p_value",
        RATE,
        functools.partial(equal_generators_told_apart, 60),
        suite=40,
    ),
    Promise(
        "two equal generators told apart by Frechet distance",
        "two generators that are equally far from the real images are told apart by their Frechet "
        "distance with probability at most the error rate, at 60 images each",
        "independent images",
        "anomaly/comparison/frechet_order.py",
        RATE,
        functools.partial(told_apart_by_frechet, 60),
        suite=20,
    ),
    Promise(
        "real images told from real ones",
        "of five generators that are like the real images, any is told from these with probability "
        "at most the error rate",
        "independent images",
        "anomaly/comparison/generators.py: p_together",
        RATE,
        functools.partial(real_generators_told_from_real, 5),
        suite=5,
    ),
)
