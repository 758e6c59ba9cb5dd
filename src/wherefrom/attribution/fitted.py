"""The fitted attributor: scores, verdicts, saving and loading.

FLIPAD (Laszkiewicz et al., ICML 2024).  Larger score = less likely made by the owner's model.

Deviation: a second conformal p-value, against held-out other images, guards "made by this model".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from wherefrom.attribution.config import FlipadConfig
from wherefrom.attribution.evidence import Evidence
from wherefrom.attribution.features import FeatureMap
from wherefrom.attribution.result import CheckResult, ImageVerdict
from wherefrom.calibration.conformal import lower_p_values, threshold_at_rate, upper_p_values
from wherefrom.calibration.verdict import Verdict, decide
from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_bytes, load_artifact, save_artifact
from wherefrom.data.writing import to_float, to_uint8
from wherefrom.generators.last_layer import LastLayer
from wherefrom.generators.output_map import OutputMap

SCHEMA = 2
SATURATED = 0.98  # share of clipped pixels from which an image says nothing about the last layer


@dataclass(frozen=True, eq=False)
class FittedFlipad:
    """A fitted attributor: it exists only once it can score.  Larger score = less likely ours.

    It holds the last layer, not the generator: an image can be checked where the model is not.
    """

    kind: ClassVar[str] = "attribution/flipad"
    config: FlipadConfig
    evidence: Evidence
    image_shape: tuple[int, int, int]
    own_scores: Tensor  # (n,) float64, held-out own images
    other_scores: Tensor  # (m,) float64, held-out other images
    provenance: Mapping[str, Any]  # generator, others, seed; JSON values

    @property
    def threshold(self) -> float:
        """The score above which an image is called not ours: the (1 - fnr)-quantile of own."""
        return threshold_at_rate(self.own_scores, self.config.false_negative_rate)

    def score(self, images: Tensor, *, track: Track = quiet) -> Tensor:
        """Anomaly score per image, (N,) float64.  Images (N, C, H, W), uint8 or [0, 1]."""
        pixels = eight_bit(images, self.image_shape)
        chunk = 512
        parts = torch.split(pixels, chunk)
        scores = [
            self.evidence.score(to_float(part)).cpu()
            for part in track(parts, "scoring", total=len(parts))
        ]
        return torch.cat(scores)

    def check(
        self,
        images: Tensor,
        *,
        names: Sequence[str] | None = None,
        digests: Sequence[str] | None = None,
        lossless: Sequence[bool] | None = None,
        track: Track = quiet,
    ) -> CheckResult:
        """A verdict per image.  `lossless` says which files kept their pixels (default: all)."""
        pixels = eight_bit(images, self.image_shape)
        scores = self.score(pixels, track=track)
        own = upper_p_values(scores, self.own_scores)
        other = lower_p_values(scores, self.other_scores)
        blank = self._saturation(pixels) >= SATURATED
        rows = []
        for i, score in enumerate(scores.tolist()):
            verdict, reason = self._decide(
                float(own[i]), float(other[i]), bool(blank[i]), lossless is None or lossless[i]
            )
            rows.append(
                ImageVerdict(
                    names[i] if names else f"image {i}",
                    verdict,
                    float(own[i]),
                    float(other[i]),
                    score,
                    reason,
                    digests[i] if digests else digest_bytes(pixels[i].numpy().tobytes()),
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
        )

    def describe(self) -> dict[str, Any]:
        """What it is and what it rests on, as JSON values."""
        return {
            "kind": self.kind,
            "image_shape": list(self.image_shape),
            "own_calibration_images": len(self.own_scores),
            "other_calibration_images": len(self.other_scores),
            "smallest_false_negative_rate": 1 / (len(self.own_scores) + 1),
            "smallest_false_positive_rate": 1 / (len(self.other_scores) + 1),
            "config": self.config.to_dict(),
            **self.provenance,
        }

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the attributor folder, whole or not at all."""
        evidence, tensors = self.evidence.to_saved()
        f = self.evidence.features
        tensors |= {f"last_layer.{k}": v for k, v in f.last_layer.to_tensors().items()}
        tensors |= {"mean_activation": f.mean_activation}
        tensors |= {"own_scores": self.own_scores, "other_scores": self.other_scores}
        if f.channels is not None:
            tensors["channels"] = f.channels
        meta = {
            "config": self.config.to_dict(),
            "evidence": evidence,
            "last_layer": f.last_layer.to_meta(),
            "output_map": f.output_map.to_meta(),
            "image_shape": list(self.image_shape),
            "provenance": dict(self.provenance),
        }
        save_artifact(
            Path(path),
            kind=self.kind,
            schema=SCHEMA,
            meta=meta,
            tensors=tensors,
            overwrite=overwrite,
        )

    def _decide(
        self, p_value: float, p_other: float, blank: bool, lossless: bool
    ) -> tuple[Verdict, str]:
        if blank:
            return Verdict.CANNOT_SAY, (
                f"at least {SATURATED:.0%} of its pixels are pure black or white: too little is "
                "left to invert"
            )
        verdict, reason = decide(
            p_value,
            p_other,
            false_negative_rate=self.config.false_negative_rate,
            false_positive_rate=self.config.false_positive_rate,
        )
        if verdict is Verdict.NOT_OURS and not lossless:
            return Verdict.CANNOT_SAY, (
                "it does not fit, but the file is lossy (JPEG or the like), and compression alone "
                "makes own images fail; ask for the original file"
            )
        return verdict, reason

    def _saturation(self, pixels: Tensor) -> Tensor:
        extreme = (pixels == 0) | (pixels == 255)
        return extreme.flatten(1).double().mean(dim=1)


def load(path: Path | str, *, device: torch.device | str = "cpu") -> FittedFlipad:
    """Read an attributor folder; an `ArtifactError` says what is wrong with it."""
    meta, tensors = load_artifact(Path(path), kind=FittedFlipad.kind, schema=SCHEMA)
    head = "last_layer."
    layer = {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
    try:
        config = FlipadConfig.from_dict(meta["config"])
        channels = tensors.get("channels")
        features = FeatureMap(
            LastLayer.from_saved(meta["last_layer"], layer).to(device),
            OutputMap.from_meta(meta["output_map"]),
            tensors["mean_activation"].to(device),
            config.lasso,
            config.max_side,
            None if channels is None else channels.to(device),
        )
        c, h, w = meta["image_shape"]
        return FittedFlipad(
            config,
            Evidence.from_saved(features, meta["evidence"], tensors, device),
            (c, h, w),
            tensors["own_scores"],
            tensors["other_scores"],
            meta["provenance"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); fit it again") from error


def eight_bit(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images as uint8 (N, *shape); an `InputError` if they are of another shape."""
    if images.ndim != 4 or tuple(images.shape[1:]) != shape:
        given = "x".join(map(str, images.shape[1:]))
        wanted = "x".join(map(str, shape))
        raise InputError(
            f"the images are {given} (channels x height x width), this model makes {wanted}; "
            "give images of that size"
        )
    return images if images.dtype == torch.uint8 else to_uint8(images)
