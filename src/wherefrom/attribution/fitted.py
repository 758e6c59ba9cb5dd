"""The fitted attributor of every method: scores, verdicts, saving and loading.

Larger score = less likely made by the owner's model.

Deviation: two further conformal p-values, against held-out other images and against images by
self-made siblings (`siblings`), guard "made by this model".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.conditions import (
    CLEAN,
    KIND_OF,
    NoiseRange,
    change_by_file,
    condition_of,
)
from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.protocol import (
    Method,
    Saved,
    Scorer,
    as_stored,
    as_values,
    require_generator,
)
from wherefrom.attribution.result import CheckResult, ImageVerdict, without_score
from wherefrom.attribution.training.held_out import (
    Calibration,
    called_ours,
    sibling_p_values,
)
from wherefrom.calibration.conformal import (
    guaranteed_rate,
    lower_p_values,
    threshold_at_rate,
    upper_p_values,
)
from wherefrom.calibration.verdict import Verdict, decide
from wherefrom.core.errors import ArtifactError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import artifact_kind, digest_bytes, load_artifact, save_artifact
from wherefrom.data.images import Carrier
from wherefrom.generators.generator import Generator
from wherefrom.generators.last_layer.introspection import holds_numbers
from wherefrom.metrics.noise_level import noise_level

SCHEMA = 5
KIND = "attribution/"  # then the method's name
EVIDENCE = "evidence."  # before the names of the scorer's own tensors
EXPERT = "expert."  # before the kind of an expert and the names of its own tensors
FURTHER = "further."  # before the name of a condition and ".own", ".other" or ".sibling.KIND"
CHUNK = 512  # images that are scored together
DECIDED = (Verdict.OURS, Verdict.NOT_OURS)
SATURATED = 0.98  # share of clipped pixels from which an image says nothing about the last layer


@dataclass(frozen=True, eq=False)
class Attributor:
    """A fitted attributor: it exists only once it can score.  Larger score = less likely ours."""

    method: str
    config: AttributionConfig
    evidence: Scorer
    image_shape: tuple[int, int, int]
    own_scores: Tensor  # (n,) float64, held-out own images
    other_scores: Tensor  # (m,) float64, held-out other images
    provenance: Mapping[str, Any]  # generator, others, seed; JSON values
    further: Mapping[str, Calibration] = field(default_factory=dict)  # by condition
    noise: NoiseRange | None = None  # tells clean images from noisy ones
    experts: Mapping[str, Scorer] = field(default_factory=dict)  # by kind of alteration
    seen: Tensor | None = None  # int64, `core.contents` of the others used; None: not recorded
    sibling_scores: Mapping[str, Tensor] = field(default_factory=dict)  # (k,) float64 by kind

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

    def scorer_of(self, condition: str) -> Scorer:
        """What judges an image in that condition: an expert, or `evidence` where there is none."""
        return self.experts.get(KIND_OF.get(condition, ""), self.evidence)

    def score(self, images: Tensor, *, condition: str = CLEAN, track: Track = quiet) -> Tensor:
        """Anomaly score per image, (N,) float64.  Images (N, C, H, W), uint8 or [0, 1]; or rows.

        With experts, scores in conditions of different kinds are not on one scale.
        """
        pixels = as_stored(images, self.image_shape)
        if not len(pixels):
            return torch.empty(0, dtype=torch.float64)
        scorer = self.scorer_of(condition)
        parts = torch.split(pixels, CHUNK)
        scores = [
            scorer.score(as_values(part)).cpu()
            for part in track(parts, "scoring images", total=len(parts))
        ]
        return torch.cat(scores)

    def _score_each(self, pixels: Tensor, conditions: Sequence[str], track: Track) -> Tensor:
        """As `score`, each image in its own condition."""
        kinds = [KIND_OF.get(one, "") if self.experts else "" for one in conditions]
        scores = torch.empty(len(pixels), dtype=torch.float64)
        for kind in dict.fromkeys(kinds):
            rows = [i for i, one in enumerate(kinds) if one == kind]
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
        p_values = self._p_values(scores, conditions)
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
                    name,
                    verdict,
                    own,
                    other,
                    score,
                    reason,
                    digest,
                    condition if condition in (CLEAN, *self.further) else None,
                    tuple(answer for answer in DECIDED if answer not in barred),
                    sibling,
                )
            )
        return self.result(rows)

    def result(self, rows: Sequence[ImageVerdict]) -> CheckResult:
        """The rows with the rates and the attributor behind them."""
        c = self.config
        return CheckResult(
            tuple(rows),
            self.threshold,
            c.false_negative_rate,
            c.false_positive_rate,
            self.describe(),
            sibling_rate=c.sibling_rate if self.sibling_scores else None,
        )

    def describe(self) -> dict[str, Any]:
        """What it is and what it rests on, as JSON values."""
        return _description(
            self.kind,
            self.image_shape,
            self.calibration_of(CLEAN),
            self.config,
            {**self.provenance, "further_conditions": sorted(self.further)},
        )

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the attributor folder, whole or not at all."""
        meta = {
            "further": sorted(self.further),
            "noise": None if self.noise is None else self.noise.to_meta(),
            "config": self.config.to_dict(),
            "evidence": self.evidence.to_saved()[0],
            "experts": {kind: one.to_saved()[0] for kind, one in self.experts.items()},
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
        found = self.evidence.to_saved()[1]
        tensors = {f"{EVIDENCE}{name}": value for name, value in found.items()}
        for kind, expert in self.experts.items():
            named = expert.to_saved()[1].items()
            tensors |= {f"{EXPERT}{kind}.{name}": value for name, value in named}
        tensors |= self.calibration_of(CLEAN).to_tensors("")
        tensors |= {} if self.seen is None else {"seen": self.seen}
        for name, scores in self.further.items():
            tensors |= scores.to_tensors(f"{FURTHER}{name}.")
        return tensors

    def _p_values(
        self, scores: Tensor, conditions: Sequence[str]
    ) -> dict[int, tuple[float, float, float | None]]:
        """By row, the p-values in its condition; where none is known, among unaltered images."""
        by_row: dict[int, tuple[float, float, float | None]] = {}
        for condition in dict.fromkeys(conditions):
            rows = [i for i, one in enumerate(conditions) if one == condition]
            known, part = self.calibration_of(condition), scores[rows]
            own = upper_p_values(part, known.own).tolist()
            other = lower_p_values(part, known.other).tolist()
            guards = known.siblings
            siblings = sibling_p_values(part, guards).tolist() if guards else [None] * len(rows)
            by_row |= zip(rows, zip(own, other, siblings, strict=True), strict=True)
        return by_row

    def calibration_of(self, condition: str) -> Calibration:
        """The scores that an image in that condition is compared with."""
        clean = Calibration(self.own_scores, self.other_scores, self.sibling_scores)
        return self.further.get(condition, clean)

    def smallest_p_value(self, condition: str) -> float:
        """The p-value at or below which an image in that condition is called not ours."""
        c, count = self.config, len(self.calibration_of(condition).own)
        what = f"false-negative rate ({condition or CLEAN})"
        return guaranteed_rate(c.false_negative_rate, count, c.confidence, what=what)

    def _barred(
        self, blank: bool, carrier: Carrier | None, condition: str, unknown: str
    ) -> Mapping[Verdict, str]:
        """The answers that an image in this state cannot get, whatever its score, and why."""
        if self.further and condition not in (CLEAN, *self.further):
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
        if carrier is None or self.further:
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
    known: Calibration,
    config: AttributionConfig,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    own, other = len(known.own), len(known.other)
    return {
        "kind": kind,
        "image_shape": list(shape),
        "own_calibration_images": own,
        "other_calibration_images": other,
        "smallest_false_negative_rate": 1 / (own + 1),
        "smallest_false_positive_rate": 1 / (other + 1),
        "called_ours": called_ours(known, config),
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
    # an ensemble needs the model only where its settings ask for the model's autoencoder
    needed = method.needs_generator or getattr(config, "autoencoder", False)
    require_generator(path, generator, meta, needed=needed)

    def scorer(saved: Mapping[str, Any], head: str) -> Scorer:
        found = {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
        return method.read(Saved(config, saved, found, generator, device))

    try:
        c, h, w = meta["image_shape"]
        known = Calibration.from_tensors(tensors, "")
        return Attributor(
            method.name,
            config,
            scorer(meta["evidence"], EVIDENCE),
            (c, h, w),
            known.own,
            known.other,
            meta["provenance"],
            {
                name: Calibration.from_tensors(tensors, f"{FURTHER}{name}.")
                for name in meta["further"]
            },
            None if meta["noise"] is None else NoiseRange.from_meta(meta["noise"]),
            {
                kind: scorer(saved, f"{EXPERT}{kind}.")
                for kind, saved in meta.get("experts", {}).items()
            },
            tensors.get("seen"),
            known.siblings,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); fit it again") from error


def describe_saved(path: Path | str) -> tuple[dict[str, Any], AttributionConfig]:
    """`Attributor.describe()` and the settings of a saved attributor, without its generator."""
    method, config, meta, tensors = _read(Path(path))
    try:
        known = Calibration.from_tensors(tensors, "")
        shape = meta["image_shape"]
        provenance = {**meta["provenance"], "further_conditions": meta["further"]}
    except KeyError as error:
        raise ArtifactError(f"{path} is damaged ({error}); fit it again") from error
    return _description(KIND + method.name, shape, known, config, provenance), config


def _read(
    folder: Path,
) -> tuple[Method, AttributionConfig, dict[str, Any], dict[str, Tensor]]:
    kind = artifact_kind(folder)
    name = kind.removeprefix(KIND)
    if name not in METHODS or kind == name:
        raise ArtifactError(f"{folder} is a {kind!r} artifact, expected an attributor; fit one")
    method = METHODS[name]
    meta, tensors = load_artifact(folder, kind=kind, schema=SCHEMA)
    try:
        config = type(method.presets["default"]).from_dict(meta["config"])
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{folder} is damaged ({error}); fit it again") from error
    return method, config, meta, tensors
