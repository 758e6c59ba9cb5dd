"""Outliers of a folder: a score chosen by a self-test, conformal p-values, a threshold by rate.

Cho: PhD thesis, Concordia University, 2025, Section 3.3 (the score); Bates et al.: Testing for
Outliers with Conformal p-values, Annals of Statistics 2023 (what is made of it).  No labels and no
real outliers are used: own images that the model was not trained on are enough.

Own images are parted by their content in four: one part fixes what a score needs, one is damaged
to choose the score, one is kept for the subtlety curve, the rest calibrates.  An image like those
of the rest is flagged with probability at most the false-alarm rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from wherefrom.calibration.conformal import require_rate, threshold_at_rate, upper_p_values
from wherefrom.calibration.discovery import discoveries
from wherefrom.core.config import Config, setting
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.core.saving.store import digest_tensors
from wherefrom.data.batches import ImageBatch
from wherefrom.data.files.opening import SkippedFile
from wherefrom.data.images.notebook import AsTable, Rows
from wherefrom.data.images.writing import to_float
from wherefrom.data.splits import split_indices
from wherefrom.detectors.protocol import Detector
from wherefrom.inversion.model import FittedInverter
from wherefrom.inversion.outliers.detecting import (
    SCORES,
    available_scores,
    fit_constant,
    make_detector,
    score_images,
)
from wherefrom.inversion.outliers.self_test import run_self_test

MIN_OWN = 8  # two images for the self-test, and a few to calibrate
MAX_SELF_TEST = 200
NOT_FINITE = "its score is not a finite number; leave it out"


@dataclass(frozen=True, kw_only=True)
class OutlierConfig(Config):
    """Settings of `calibrate_outliers`."""

    score: str = setting(
        "auto", "auto: the one that sees built-in damage best", choices=("auto", *SCORES)
    )
    near: float = setting(
        0.3, "weak intensity of the self-test", source="4.3: .1 and .5", low=0.01, high=1.0
    )
    temperature: float = setting(
        1.0, "temperature of the energy", source="4.3.2: 1 and 10", low=1e-3
    )
    percentile: float = setting(
        1.0, "where ReAct cuts activations; 1: no cut", source="4.3.2: .85 to 1", low=0.01, high=1.0
    )


@dataclass(frozen=True, eq=False)
class OutlierCalibration(Artifact):
    """A score of one model, calibrated on own images.  Larger score = more anomalous."""

    kind: ClassVar[str] = "inversion/outliers"
    schema: ClassVar[int] = 1
    again: ClassVar[str] = "calibrate again"
    config: OutlierConfig
    score: str
    constant: float  # the centre or cap of the score
    own_scores: Tensor  # (n,) float64, of the part that calibrates
    self_test: Mapping[str, Any]  # `SelfTest.to_dict()`
    model: str  # digest of the model

    @property
    def warning(self) -> str:
        """The self-test's, empty if there is none."""
        return str(self.self_test["warning"])

    def fits(self, fitted: FittedInverter) -> bool:
        """Whether it belongs to this model."""
        return model_digest(fitted) == self.model

    def detector(self, fitted: FittedInverter) -> Detector:
        """The chosen score of this model; an `InputError` for another model."""
        if not self.fits(fitted):
            raise InputError("this calibration belongs to another model; give --own to make one")
        return make_detector(fitted, self.score, self.constant, temperature=self.config.temperature)

    def threshold(self, rate: float) -> float:
        """The score above which an image is flagged at the false-alarm `rate`."""
        require_rate(rate, len(self.own_scores), what="false-alarm rate")
        return threshold_at_rate(self.own_scores, rate)

    def to_saved(self) -> Saved:
        """The score, its constant, the own scores and the self-test."""
        meta = {
            "config": self.config.to_dict(),
            "score": self.score,
            "self_test": dict(self.self_test),
            "model": self.model,
        }
        constant = torch.tensor(self.constant, dtype=torch.float64)
        return Saved(meta, {"own_scores": self.own_scores, "constant": constant})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The calibration again."""
        meta, tensors = saved.meta, saved.tensors
        return cls(
            config=OutlierConfig.from_dict(meta["config"]),
            score=str(meta["score"]),
            constant=float(tensors["constant"]),
            own_scores=tensors["own_scores"],
            self_test=meta["self_test"],
            model=str(meta["model"]),
        )


class OwnImages(NamedTuple):
    """Normal images that the model was not trained on, each content once."""

    images: Tensor  # (N, C, H, W) uint8
    keys: list[str]  # a digest of each

    @classmethod
    def distinct(cls, images: Tensor) -> Self:
        """Each content of `images` once."""
        row_of = {digest_tensors({"": image}): row for row, image in enumerate(images)}
        rows = list(row_of.values())
        # Indexing copies: a large folder stays where it is, in a file.
        return cls(images if rows == list(range(len(images))) else images[rows], list(row_of))


@dataclass(frozen=True)
class OutlierRow:
    """One image; `flagged` alone at the false-alarm rate, `discovery` within the whole folder."""

    name: str
    score: float
    p_value: float
    flagged: bool
    discovery: bool
    digest: str


@dataclass(frozen=True)
class OutlierReport(AsTable):
    """Images, most anomalous first.  Larger score = more anomalous.

    `discovery`: of the images so marked, at most `rate` are normal ones on average
    (Benjamini-Hochberg); `flagged`: of normal images, at most `rate` are flagged.
    """

    IMAGE = "name"

    rows: tuple[OutlierRow, ...]
    rate: float
    threshold: float
    score: str
    calibrated_on: int
    skipped: tuple[SkippedFile, ...]
    warning: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "skipped": [file.to_dict() for file in self.skipped]}

    def as_table(self) -> tuple[Rows, str]:
        return self.to_dict()["rows"], f"outliers at a false-alarm rate of {self.rate:g}"


def calibrate_outliers(
    fitted: FittedInverter,
    images: Tensor,
    *,
    keys: Sequence[str],
    config: OutlierConfig | None = None,
    seed: int = 0,
    track: Track = quiet,
) -> OutlierCalibration:
    """Choose and calibrate a score on own images (N, C, H, W) uint8 that were not trained on.

    `keys`: one digest per image, all different.  Images of the training set would make every new
    image look anomalous.
    """
    config = config or OutlierConfig()
    names = _candidates(fitted, config.score)
    if len(images) < MIN_OWN:
        raise InputError(f"{len(images)} own images; give at least {MIN_OWN}, better hundreds")
    parts = own_parts(keys, seed=seed)
    reference, tested = (to_float(images[parts[use]]) for use in ("reference", "test"))
    constants = {
        name: fit_constant(fitted, name, reference, percentile=config.percentile) for name in names
    }
    detectors = {
        name: make_detector(fitted, name, constants[name], temperature=config.temperature)
        for name in names
    }
    test = run_self_test(
        detectors,
        tested,
        keys=[keys[index] for index in parts["test"]],
        near=config.near,
        seed=seed,
        track=track,
    )
    scores = score_images(detectors[test.chosen], images, parts["calibration"])
    return OutlierCalibration(
        config=config,
        score=test.chosen,
        constant=constants[test.chosen],
        own_scores=scores[scores.isfinite()],
        self_test=test.to_dict(),
        model=model_digest(fitted),
    )


def own_parts(keys: Sequence[str], *, seed: int = 0) -> dict[str, list[int]]:
    """Rows of own images by use: `reference`, `curve`, `test` and `calibration`, disjoint.

    `test` chooses the score, a quarter or 200; `reference` and `curve` share another quarter, the
    latter up to 200; `calibration` has the rest.  `curve` is for measuring: it decides nothing.
    """
    quarter = len(keys) // 4
    curve = min(quarter // 2, MAX_SELF_TEST)
    sizes = {"reference": quarter - curve, "curve": curve, "test": min(quarter, MAX_SELF_TEST)}
    sizes["calibration"] = len(keys) - sum(sizes.values())
    return split_indices(keys, sizes, seed=seed)


def find_outliers(
    fitted: FittedInverter, calibration: OutlierCalibration, batch: ImageBatch, *, rate: float
) -> OutlierReport:
    """Rank the images of a folder; `rate` is the false-alarm rate and that of false discoveries.

    An image whose score is not a finite number is `skipped`, with the reason.
    """
    threshold = calibration.threshold(rate)
    scores = score_images(calibration.detector(fitted), batch.images)
    usable = scores.isfinite().tolist()
    unscored = [
        SkippedFile(path, NOT_FINITE)
        for path, is_usable in zip(batch.paths, usable, strict=True)
        if not is_usable
    ]
    used = [row for row, is_usable in enumerate(usable) if is_usable]
    scores = scores[used]
    p_values = upper_p_values(scores, calibration.own_scores)
    discovered = discoveries(p_values.tolist(), rate) if len(scores) else torch.empty(0)
    rows = [
        OutlierRow(
            name=str(batch.paths[row]),
            score=float(score),
            p_value=float(p),
            flagged=bool(p <= rate),
            discovery=bool(both),
            digest=batch.digests[row],
        )
        for row, score, p, both in zip(used, scores, p_values, discovered, strict=True)
    ]
    rows.sort(key=lambda row: (-row.score, row.name))
    return OutlierReport(
        rows=tuple(rows),
        rate=rate,
        threshold=threshold,
        score=calibration.score,
        calibrated_on=len(calibration.own_scores),
        skipped=(*batch.skipped, *unscored),
        warning=calibration.warning,
    )


def model_digest(fitted: FittedInverter) -> str:
    """SHA-256 of the weights and statistics that decide every score."""
    state = {f"networks.{k}": v for k, v in fitted.networks.state_dict().items()}
    return digest_tensors({**state, "v": fitted.trace, "s": fitted.scale, "mean": fitted.mean})


def _candidates(fitted: FittedInverter, score: str) -> tuple[str, ...]:
    if score != "auto":
        return (score,)
    names = available_scores(fitted)
    if not names:
        raise InputError(f"{fitted.config.method} has no score of outliers; train dlsgan or pvdgan")
    return names
