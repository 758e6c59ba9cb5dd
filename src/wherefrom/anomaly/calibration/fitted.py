"""The calibration by real images: percentiles, and flags with a stated rate of false alarms.

Raw values of C, V and AS-i scale with the encoder.  So an image is ranked among held-out real
images of the user.  If it is like them, it is flagged with probability at most the rate asked for,
whatever the encoder (`wherefrom.calibration.conformal`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from wherefrom.anomaly.calibration.assumption import AssumptionCheck
from wherefrom.anomaly.calibration.cloud import MIN_POINTS, Cloud
from wherefrom.anomaly.calibration.judgement import FalseAlarms, ImageJudgement, explain_flag
from wherefrom.anomaly.config import AnomalyConfig
from wherefrom.anomaly.equations import anomaly_vectors, as_i
from wherefrom.anomaly.result import ImageScores
from wherefrom.calibration.conformal import (
    guaranteed_rate,
    next_p_value,
    require_rate,
    upper_p_values,
)
from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.data.splits import split_indices
from wherefrom.encoders.encoder import EncoderIdentity

CLOUD_SHARE = 1 / 3
MIN_HELD_OUT = 10  # images
DECIDING = ("as_i", "vulnerability", "joint")
POINTS = ("cloud_points", "held_points", "first_cloud", "first_points")  # saved as tensors
MIN_OPENED, MARGIN = 0.1, 3.0  # of the images like the cloud's, that have all draws


@dataclass(frozen=True, eq=False)
class AnomalyCalibration(Artifact):
    """Scores of real images, among which other images are ranked.  Larger score = less like them.

    `cloud_points` shape the joint score.  p-values are ranks among `held_points` alone, or among
    `reference_points` where few draws are tried first.  `first_cloud` and `first_points` are the
    images of both with few draws; where they are (0, 2), only images with all draws can be judged.
    """

    kind: ClassVar[str] = "anomaly/calibration"
    schema: ClassVar[int] = 2
    again: ClassVar[str] = "calibrate again"
    encoder: EncoderIdentity
    config: AnomalyConfig
    seed: int
    decides: str  # the score that flags
    cloud_points: Tensor  # [C, V], (n, 2) float64
    held_points: Tensor  # [C, V], (m, 2) float64
    check: AssumptionCheck | None
    provenance: Mapping[str, Any]  # JSON values
    first_cloud: Tensor  # [C, V] of the cloud's images with few draws, (n, 2) or (0, 2) float64
    first_points: Tensor  # [C, V] of the held-out images with few draws, (m, 2) or (0, 2) float64

    def scores(self, points: Tensor) -> dict[str, Tensor]:
        """AS-i, vulnerability and the joint score of [C, V] (N, 2), each (N,) float64."""
        C, V = points.double().unbind(dim=1)  # noqa: N806
        cloud = Cloud.fit(self.cloud_points)
        return {"as_i": as_i(C, V), "vulnerability": V, "joint": cloud.distance(points)}

    def p_values(self, points: Tensor, among: Tensor | None = None) -> dict[str, Tensor]:
        """Conformal p-values of the same scores: small = too large for a real image.

        `among`: the points [C, V] (m, 2) of the held-out images; default `held_points`.
        """
        held = self.scores(self.held_points if among is None else among)
        return {n: upper_p_values(s, held[n]) for n, s in self.scores(points).items()}

    def highest_p_value(self, false_alarms: float, confidence: float = 0.0) -> float:
        """The p-value up to which images are flagged: `false_alarms`, or less with a `confidence`.

        With a confidence in (0, 1) the rate holds for the held-out images at hand, but for the
        share 1 - `confidence` of calibrations (`guaranteed_rate`).  `InputError` where they are too
        few.
        """
        count, what = len(self.held_points), "false-alarm rate"
        require_rate(false_alarms, count, what=what)
        return guaranteed_rate(false_alarms, count, confidence, what=what)

    def judge(
        self, scores: ImageScores, *, false_alarms: float = 0.01, progressive: bool = False
    ) -> list[ImageJudgement]:
        """One judgement per image, in their order; at most `false_alarms` of real ones are flagged.

        `progressive`: the scores are those of `score_progressively` at the same rate.  They are
        ranked among the held-out images measured in the same way.  Images with all draws rank above
        the others, which are never flagged: every flag, and every p-value up to the rate, rests on
        all draws.  `InputError` for scores of another encoder, settings or seed, for a rate that
        the number of held-out images cannot support, and for few draws that are not `progressive`.
        """
        self.require_same(scores)
        require_rate(false_alarms, len(self.held_points), what="false-alarm rate")
        points = anomaly_vectors(scores.complexity, scores.vulnerability)
        few = scores.directions < self.config.directions
        if few.any() and not progressive:
            raise InputError(
                f"{int(few.sum())} images have fewer noise directions than the "
                f"{self.config.directions} of the calibration; score them in full"
            )
        among, opened = (
            self.reference_points(false_alarms) if progressive else (self.held_points, None)
        )
        by_score = self.p_values(points, among)
        if opened is not None:
            decided = self._progressive_p_values(points, few, among, opened)
            lowest = next_p_value(false_alarms, len(among))
            by_score[self.decides] = decided.where(~few, decided.clamp_min(lowest))
        rows = []
        for i, name in enumerate(scores.names):
            p = {score: float(values[i]) for score, values in by_score.items()}
            c, v = points[i].tolist()
            flagged = p[self.decides] <= false_alarms
            rows.append(
                ImageJudgement(
                    name=name,
                    digest=scores.digests[i],
                    complexity=c,
                    vulnerability=v,
                    as_i=float(scores.as_i[i]),
                    p_as_i=p["as_i"],
                    p_vulnerability=p["vulnerability"],
                    p_joint=p["joint"],
                    p_value=p[self.decides],
                    flagged=flagged,
                    reason=explain_flag(
                        self.decides,
                        p[self.decides],
                        points[i],
                        among,
                    ),
                )
            )
        return rows

    def _progressive_p_values(
        self, points: Tensor, few: Tensor, among: Tensor, opened: Tensor
    ) -> Tensor:
        """P-values (N,) of the score that decides; whatever has all draws ranks above the rest.

        `few` (N,) bool: which points have few draws; `opened` (m,): which of `among` have all.
        """
        held, scores = (self.scores(rows)[self.decides] for rows in (among, points))
        with_all = upper_p_values(scores, held.where(opened, -torch.inf))
        return upper_p_values(scores, held.where(~opened, torch.inf)).where(few, with_all)

    def rate(self, judgements: Sequence[ImageJudgement], false_alarms: float) -> FalseAlarms:
        """How many images were flagged, and how many of as many real images would be."""
        flagged = sum(row.flagged for row in judgements)
        return FalseAlarms(false_alarms, flagged, len(judgements), len(self.held_points))

    def reference_points(self, false_alarms: float) -> tuple[Tensor, Tensor]:
        """[C, V] (m, 2) of the held-out images, each measured as `score_progressively` would.

        Also which of them have all draws, (m,) bool.
        """
        if not len(self.first_points):
            return self.held_points, torch.ones(len(self.held_points), dtype=torch.bool)
        opened = self.needs_all_draws(self.first_points, false_alarms)
        return torch.where(opened[:, None], self.held_points, self.first_points), opened

    def needs_all_draws(self, points: Tensor, false_alarms: float) -> Tensor:
        """Whether images with these [C, V] (N, 2) at few draws are measured in full, (N,) bool.

        Those whose score is among the largest tenth of the cloud's images at as few draws, or the
        largest `MARGIN` times `false_alarms`.  The held-out images have no part in it, so an image
        is measured by a rule that is as old as they are, and its p-value is exact.
        """
        cloud = self.scores(self.first_cloud)[self.decides]
        share = min(1.0, max(MIN_OPENED, MARGIN * false_alarms))
        return self.scores(points)[self.decides] > torch.quantile(cloud, 1 - share)

    def require_same(self, scores: ImageScores) -> None:
        """An `InputError` unless the scores were made as those of the real images."""
        self.encoder.require_same(scores.encoder, what="this calibration")
        mine, given = self.config.to_dict(), scores.config.to_dict()
        differing = [f"{n} {given[n]} instead of {mine[n]}" for n in mine if mine[n] != given[n]]
        if scores.seed != self.seed:
            differing.append(f"seed {scores.seed} instead of {self.seed}")
        if differing:
            raise InputError(
                f"the images were scored with other settings than the calibration: "
                f"{', '.join(differing)}; use the same ones, or calibrate again"
            )

    def describe(self) -> dict[str, Any]:
        """Encoder, settings, number of images and checks, as JSON values."""
        return {
            "kind": self.kind,
            "encoder": self.encoder.to_dict(),
            "decides": self.decides,
            "cloud_images": len(self.cloud_points),
            "held_out_images": len(self.held_points),
            "smallest_false_alarm_rate": 1 / (len(self.held_points) + 1),
            "config": self.config.to_dict(),
            "seed": self.seed,
            "assumption": self.check.to_dict() if self.check else None,
            **self.provenance,
        }

    def to_saved(self) -> Saved:
        """Settings, the check and the provenance as JSON values, and the points as tensors."""
        meta = {
            "encoder": self.encoder.to_dict(),
            "config": self.config.to_dict(),
            "seed": self.seed,
            "decides": self.decides,
            "check": self.check.to_dict() if self.check else None,
            "provenance": dict(self.provenance),
        }
        return Saved(meta, {name: getattr(self, name) for name in POINTS})

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The inverse of `to_saved`."""
        meta = saved.meta
        return cls(
            encoder=EncoderIdentity.from_dict(meta["encoder"]),
            config=AnomalyConfig.from_dict(meta["config"]),
            seed=int(meta["seed"]),
            decides=str(meta["decides"]),
            check=AssumptionCheck.from_dict(meta["check"]) if meta["check"] else None,
            provenance=meta["provenance"],
            **{name: saved.tensors[name] for name in POINTS},
        )


def split_reals(digests: tuple[str, ...], *, seed: int) -> tuple[list[int], list[int]]:
    """Rows for the cloud and rows held out, by content: a third and the rest, each image once.

    `InputError` for too few different images.
    """
    first = list({digest: row for row, digest in reversed(list(enumerate(digests)))}.values())[::-1]
    cloud = max(MIN_POINTS, round(len(first) * CLOUD_SHARE))
    if len(first) - cloud < MIN_HELD_OUT:
        raise InputError(
            f"the calibration got {len(first)} different real images, at least "
            f"{MIN_POINTS + MIN_HELD_OUT} are needed, and 1.5 / rate for a rate of false alarms"
        )
    sizes = {"cloud": cloud, "held": len(first) - cloud}
    parts = split_indices([digests[row] for row in first], sizes, seed=seed)
    return [first[i] for i in parts["cloud"]], [first[i] for i in parts["held"]]


def fit_calibration(
    reals: ImageScores,
    *,
    first: ImageScores | None = None,
    check: AssumptionCheck | None = None,
    decides: str = "auto",
    provenance: Mapping[str, Any] | None = None,
) -> AnomalyCalibration:
    """A calibration by scores of real images, each with complexity and vulnerability.

    `first`: scores of the same images with fewer draws, as `score_progressively` makes them.
    `decides` is the score that flags, one of as_i, vulnerability and joint; "auto" is the one that
    `check` advises, and joint without a check.
    """
    if decides == "auto":
        decides = check.advised if check else "joint"
    if decides not in DECIDING:
        raise InputError(f"decides is {decides!r}; choose auto or one of {', '.join(DECIDING)}")
    if not (reals.config.directions and reals.config.restarts):
        raise InputError("the real images were scored without complexity or vulnerability")
    cloud, held = split_reals(reals.digests, seed=reals.seed)
    points = anomaly_vectors(reals.complexity, reals.vulnerability)
    none = torch.empty(0, 2, dtype=torch.float64)
    few = none if first is None else _matched(first, reals, points)
    return AnomalyCalibration(
        encoder=reals.encoder,
        config=reals.config,
        seed=reals.seed,
        decides=decides,
        cloud_points=points[cloud],
        held_points=points[held],
        check=check,
        provenance={"skipped": len(reals.skipped), **(provenance or {})},
        first_cloud=none if first is None else few[cloud],
        first_points=none if first is None else few[held],
    )


def _matched(first: ImageScores, reals: ImageScores, points: Tensor) -> Tensor:
    """[C, V] with fewer draws in the order of `reals`, (N, 2); of all draws where there is none."""
    few = anomaly_vectors(first.complexity, first.vulnerability)
    place = {digest: row for row, digest in enumerate(first.digests)}
    rows = [place.get(digest) for digest in reals.digests]
    return torch.stack([points[i] if row is None else few[row] for i, row in enumerate(rows)])
