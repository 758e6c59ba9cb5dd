"""The fitted attributor of every method: scores, verdicts, saving and loading.

Larger score = less likely made by the owner's model.

Deviation: two further conformal p-values, against held-out other images and against images by
self-made siblings (`training.siblings`), guard "made by this model".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.images.conditions import (
    CLEAN,
    KIND_OF,
    NoiseRange,
    change_by_file,
    condition_of,
    rows_by,
)
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.protocol import (
    Method,
    SavedScorer,
    Scorer,
    as_stored,
    as_values,
    require_generator,
)
from wherefrom.attribution.result import CheckResult, ImageVerdict, without_score
from wherefrom.attribution.training.held_out import HeldOutScores, describe_calibration
from wherefrom.calibration.conformal import guaranteed_rate, threshold_at_rate
from wherefrom.calibration.verdict import Verdict, decide
from wherefrom.core.errors import ArtifactError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.artifact import damage_named
from wherefrom.core.saving.store import (
    artifact_kind,
    digest_bytes,
    digest_tensors,
    load_artifact,
    save_artifact,
)
from wherefrom.data.decoding.images import Carrier
from wherefrom.generators.generator import Generator
from wherefrom.generators.last_layer.introspection import holds_numbers
from wherefrom.metrics.noise_level import noise_level

SCHEMA = 5
KIND = "attribution/"  # then the method's name
SCORER = "evidence."  # before the names of the scorer's own tensors
EXPERT = "expert."  # before the kind of an expert and the names of its own tensors
ALTERED = "further."  # before the name of a condition and ".own", ".other" or ".sibling.KIND"
CHUNK = 512  # images that are scored together
DECIDED = (Verdict.OURS, Verdict.NOT_OURS)
SATURATED = 0.98  # share of clipped pixels from which an image says nothing about the last layer


def score_stored(scorer: Scorer, samples: Tensor, *, track: Track = quiet) -> Tensor:
    """Anomaly scores of samples as stored, (N,) float64 on the CPU, in parts that fit memory."""
    if not len(samples):
        return torch.empty(0, dtype=torch.float64)
    parts = torch.split(samples, CHUNK)
    tracked = track(parts, "scoring images", total=len(parts))
    return torch.cat([scorer.score(as_values(part)).cpu() for part in tracked])


@dataclass(frozen=True, eq=False, kw_only=True)
class Attributor:
    """A fitted attributor.  Larger score = less likely made by the owner's model."""

    method: str
    config: AttributionConfig
    scorer: Scorer
    image_shape: tuple[int, int, int]
    own_scores: Tensor  # (n,) float64, held-out own images
    other_scores: Tensor  # (m,) float64, held-out other images
    sibling_scores: Mapping[str, Tensor] = field(default_factory=dict)  # (k,) float64 by kind
    altered: Mapping[str, HeldOutScores] = field(default_factory=dict)  # by condition
    noise: NoiseRange | None = None  # tells clean images from noisy ones
    experts: Mapping[str, Scorer] = field(default_factory=dict)  # by kind of alteration
    provenance: Mapping[str, Any]  # generator, others, seed; JSON values
    seen: Tensor | None = None  # int64, `core.contents` of the images given; None: not recorded

    @property
    def kind(self) -> str:
        """The kind of its artifact."""
        return KIND + self.method

    @property
    def judges_numbers(self) -> bool:
        """Whether its model makes rows or signals instead of images."""
        return holds_numbers(self.image_shape)

    @property
    def threshold(self) -> float:
        """The score above which an image is called not ours: the (1 - fnr)-quantile of own."""
        return threshold_at_rate(self.own_scores, self.smallest_p_value(CLEAN))

    @property
    def digest(self) -> str:
        """The digest of every number that it rests on."""
        return digest_tensors(self.tensors())

    def scorer_of(self, condition: str) -> Scorer:
        """What judges an image in that condition: an expert, or `scorer` where there is none."""
        return self.experts.get(KIND_OF.get(condition, ""), self.scorer)

    def score(self, images: Tensor, *, condition: str = CLEAN, track: Track = quiet) -> Tensor:
        """Anomaly score per image, (N,) float64.  Images (N, C, H, W), uint8 or [0, 1]; or rows.

        With experts, scores in conditions of different kinds are not on one scale.
        """
        samples = as_stored(images, self.image_shape)
        return score_stored(self.scorer_of(condition), samples, track=track)

    def _score_each(self, pixels: Tensor, conditions: Sequence[str], track: Track) -> Tensor:
        """As `score`, each image in its own condition."""
        kinds = [KIND_OF.get(condition, "") if self.experts else "" for condition in conditions]
        scores = torch.empty(len(pixels), dtype=torch.float64)
        for rows in rows_by(kinds).values():
            scores[rows] = self.score(pixels[rows], condition=conditions[rows[0]], track=track)
        return scores

    def check(
        self,
        images: Tensor,
        *,
        names: Sequence[str] | None = None,
        digests: Sequence[str] | None = None,
        carriers: Sequence[Carrier] | None = None,
        track: Track = quiet,
    ) -> CheckResult:
        """The verdicts of `judge`, with the rates and the attributor behind them."""
        rows = self.judge(images, names=names, digests=digests, carriers=carriers, track=track)
        return self.result(rows)

    def judge(
        self,
        images: Tensor,
        *,
        names: Sequence[str] | None = None,
        digests: Sequence[str] | None = None,
        carriers: Sequence[Carrier] | None = None,
        track: Track = quiet,
    ) -> list[ImageVerdict]:
        """A verdict per image, calibrated for the state in which its file arrived.

        `carriers` are the files (default: none, pixels as the model gave them out).
        """
        pixels = as_stored(images, self.image_shape)
        blank = self._saturation(pixels) >= SATURATED
        levels = noise_level(as_values(pixels)).tolist() if self.noise else [0.0] * len(pixels)
        files: Sequence[Carrier | None] = carriers or [None] * len(pixels)
        size = self.image_shape[1:]
        arrivals = [
            condition_of(file, level, size, self.noise)
            for file, level in zip(files, levels, strict=True)
        ]
        conditions = [condition for condition, _ in arrivals]
        scores = self._score_each(pixels, conditions, track)
        p_values: dict[int, tuple[float, float, float | None]] = {}
        for condition, numbers in rows_by(conditions).items():
            among = self.calibration_of(condition)
            p_values |= zip(numbers, among.p_values(scores[numbers]), strict=True)
        rows = []
        for i, score in enumerate(scores.tolist()):
            carrier, (condition, unknown) = files[i], arrivals[i]
            name = names[i] if names else f"image {i}"
            digest = digests[i] if digests else digest_bytes(pixels[i].numpy().tobytes())
            if not math.isfinite(score):
                rows.append(without_score(name, digest))
                continue
            own, other, sibling = p_values[i]
            barred = self._barred(bool(blank[i]), carrier, condition, unknown)
            verdict, reason = self._decide((own, other, sibling), condition, barred)
            rows.append(
                ImageVerdict(
                    name=name,
                    verdict=verdict,
                    p_value=own,
                    p_other=other,
                    score=score,
                    reason=reason,
                    digest=digest,
                    condition=condition if condition in (CLEAN, *self.altered) else None,
                    possible=tuple(answer for answer in DECIDED if answer not in barred),
                    p_sibling=sibling,
                )
            )
        return rows

    def result(self, rows: Sequence[ImageVerdict]) -> CheckResult:
        """The rows with the rates and the attributor behind them."""
        c = self.config
        return CheckResult(
            images=tuple(rows),
            threshold=self.threshold,
            false_negative_rate=c.false_negative_rate,
            false_positive_rate=c.false_positive_rate,
            attributor=self.describe(),
            sibling_rate=c.sibling_rate if self.sibling_scores else None,
        )

    def describe(self) -> dict[str, Any]:
        """What it is and what it rests on, as JSON values."""
        return _description(
            self.kind,
            self.image_shape,
            self.calibration_of(CLEAN),
            self.config,
            {**self.provenance, "further_conditions": sorted(self.altered)},
        )

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the attributor folder, whole or not at all."""
        meta = {
            "further": sorted(self.altered),
            "noise": None if self.noise is None else asdict(self.noise),
            "config": self.config.to_dict(),
            "evidence": self.scorer.to_saved()[0],
            "experts": {kind: expert.to_saved()[0] for kind, expert in self.experts.items()},
            "image_shape": list(self.image_shape),
            "provenance": dict(self.provenance),
        }
        save_artifact(
            Path(path),
            kind=self.kind,
            schema=SCHEMA,
            meta=meta,
            tensors=self.tensors(),
            overwrite=overwrite,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every number that it rests on, by name: what `save` writes."""
        scorers = {SCORER: self.scorer}
        scorers |= {f"{EXPERT}{kind}.": expert for kind, expert in self.experts.items()}
        tensors = {
            f"{head}{name}": value
            for head, scorer in scorers.items()
            for name, value in scorer.to_saved()[1].items()
        }
        tensors |= self.calibration_of(CLEAN).to_tensors("")
        tensors |= {} if self.seen is None else {"seen": self.seen}
        for name, scores in self.altered.items():
            tensors |= scores.to_tensors(f"{ALTERED}{name}.")
        return tensors

    def calibration_of(self, condition: str) -> HeldOutScores:
        """The scores that an image in that condition is compared with; where none, clean ones."""
        clean = HeldOutScores(self.own_scores, self.other_scores, self.sibling_scores)
        return self.altered.get(condition, clean)

    def smallest_p_value(self, condition: str) -> float:
        """The p-value at or below which an image in that condition is called not ours."""
        c, count = self.config, len(self.calibration_of(condition).own)
        what = f"false-negative rate ({condition or CLEAN})"
        return guaranteed_rate(c.false_negative_rate, count, c.confidence, what=what)

    def _barred(
        self, blank: bool, carrier: Carrier | None, condition: str, unknown: str
    ) -> Mapping[Verdict, str]:
        """The answers that an image in this state cannot get, whatever its score, and why."""
        if self.altered and condition not in (CLEAN, *self.altered):
            return dict.fromkeys(
                DECIDED,
                unknown
                or f"it arrived in the state {condition!r}, which was not calibrated; ask for the "
                "original file",
            )
        if blank:
            return dict.fromkeys(
                DECIDED,
                f"at least {SATURATED:.0%} of its pixels are pure black or white: too little is "
                "left to judge",
            )
        if carrier is None or self.altered:
            return {}
        changed = change_by_file(carrier, self.image_shape[1:])
        if not changed:
            return {}
        return {
            Verdict.NOT_OURS: f"it does not fit, but {changed} alone makes own images fail; ask "
            "for the original file"
        }

    def _decide(
        self,
        p_values: tuple[float, float, float | None],
        condition: str,
        barred: Mapping[Verdict, str],
    ) -> tuple[Verdict, str]:
        if len(barred) == len(DECIDED):
            return Verdict.CANNOT_SAY, barred[Verdict.OURS]
        verdict, reason = decide(
            *p_values,
            false_negative_rate=self.smallest_p_value(condition),
            false_positive_rate=self.config.false_positive_rate,
            sibling_rate=self.config.sibling_rate,
        )
        return (Verdict.CANNOT_SAY, barred[verdict]) if verdict in barred else (verdict, reason)

    def _saturation(self, pixels: Tensor) -> Tensor:
        if self.judges_numbers:
            return torch.zeros(len(pixels))
        extreme = (pixels == 0) | (pixels == 255)
        return extreme.flatten(1).double().mean(dim=1)


def _description(
    kind: str,
    shape: Sequence[int],
    clean: HeldOutScores,
    config: AttributionConfig,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "kind": kind,
        "image_shape": list(shape),
        **describe_calibration(clean, config),
        "config": config.to_dict(),
        **provenance,
    }


def load(
    path: Path | str,
    *,
    generator: Generator | None = None,
    device: torch.device | str = "cpu",
) -> Attributor:
    """Read an attributor folder; an `ArtifactError` says what is wrong with it.

    `generator` is needed where the method runs the whole model to score (the inversions): an
    `InputError` if it is missing or another one than the attributor was fitted for.
    """
    method, config, meta, tensors = _read(Path(path))
    require_generator(path, generator, meta, needed=method.needs_generator(config))
    with damage_named(Path(path)):
        saved = SavedScorer(config, meta, tensors, generator, device)
        experts = replace(saved, meta=meta.get("experts", {}))
        c, h, w = meta["image_shape"]
        clean = HeldOutScores.from_tensors(tensors, "")
        return Attributor(
            method=method.name,
            config=config,
            scorer=method.read(saved.part("evidence", config, head=SCORER)),
            image_shape=(c, h, w),
            own_scores=clean.own,
            other_scores=clean.other,
            sibling_scores=clean.siblings,
            altered={
                name: HeldOutScores.from_tensors(tensors, f"{ALTERED}{name}.")
                for name in meta["further"]
            },
            noise=None if meta["noise"] is None else NoiseRange.from_saved(meta["noise"]),
            experts={
                kind: method.read(experts.part(kind, config, head=f"{EXPERT}{kind}."))
                for kind in experts.meta
            },
            provenance=meta["provenance"],
            seen=tensors.get("seen"),
        )


def describe_saved(path: Path | str) -> tuple[dict[str, Any], AttributionConfig]:
    """`Attributor.describe()` and the settings of a saved attributor, without its generator."""
    method, config, meta, tensors = _read(Path(path))
    with damage_named(Path(path)):
        clean = HeldOutScores.from_tensors(tensors, "")
        provenance = {**meta["provenance"], "further_conditions": meta["further"]}
        described = _description(KIND + method.name, meta["image_shape"], clean, config, provenance)
    return described, config


def _read(folder: Path) -> tuple[Method, AttributionConfig, dict[str, Any], dict[str, Tensor]]:
    kind = artifact_kind(folder)
    name = kind.removeprefix(KIND)
    if name not in METHODS or kind == name:
        raise ArtifactError(
            f"{show_path(folder)} is a {kind!r} artifact, expected an attributor; fit one"
        )
    method = METHODS[name]
    meta, tensors = load_artifact(folder, kind=kind, schema=SCHEMA)
    try:
        config = type(method.presets["default"]).from_dict(meta["config"])
    except (KeyError, ValueError) as error:  # a setting that is not of this version, too
        raise ArtifactError(f"{show_path(folder)} is damaged ({error}); fit it again") from error
    return method, config, meta, tensors
