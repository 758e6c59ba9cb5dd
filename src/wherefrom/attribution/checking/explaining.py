"""Why one image got its verdict: what its activations show, what is left over, what survives.

FLIPAD, Figures 4 and 11 to 15, show activation channels that differ; here they are those of the
image asked about, in the units in which the detector sees them.

Symbols:
    z       inverted activations as the detector is given them, standardised, (K, h, w)
    o, x    target and image; x_hat = sigma(G_L z + b), the nearest image that the layer was found
            to make
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wherefrom.attribution.fitted import Attributor
from wherefrom.attribution.methods.ensemble import Ensemble
from wherefrom.attribution.methods.features import FeatureMap
from wherefrom.attribution.methods.flipad_scorer import Evidence
from wherefrom.attribution.protocol import Scorer, as_stored
from wherefrom.attribution.result import ImageVerdict
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.core.precision import full_precision
from wherefrom.core.store import digest_tensors
from wherefrom.data.altering.degradations import blur, crop, jpeg, webp
from wherefrom.data.images import Carrier
from wherefrom.data.shaping import crop_and_resize
from wherefrom.data.writing import to_float
from wherefrom.detectors.deep_sad import FittedDeepSad

SHOWN_CHANNELS = 4
HALF_LEVEL = 0.5  # of 255: what rounding alone leaves over


@dataclass(frozen=True, eq=False)
class Channel:
    """One activation channel: how far its places lie from own images', in their deviations."""

    index: int
    difference: float  # mean of |z| over its places
    places: Tensor  # z, (h, w) float32


@dataclass(frozen=True)
class Reencoding:
    """The verdict after somebody shipped the image once more."""

    change: str
    verdict: Verdict
    p_value: float | None
    condition: str | None
    reason: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """What stands behind the verdict on one image.

    `channels` and `unexplained` are empty for a method that inverts nothing.  `unexplained` is
    |x - x_hat| in 8-bit levels, the largest over the colours, (H, W); what exceeds half a level
    was not found to be in the layer's reach.  `pieces` are an ensemble's, by name.
    """

    image: ImageVerdict
    calibration: Mapping[str, Tensor]  # "own" and "other" scores of the image's condition
    channels: tuple[Channel, ...]
    unexplained: Tensor | None
    pieces: Mapping[str, float]
    reencodings: tuple[Reencoding, ...]
    digests: Mapping[str, str]

    @property
    def out_of_reach(self) -> float | None:
        """Share of the pixels that the inversion leaves more than half a level off."""
        if self.unexplained is None:
            return None
        return float((self.unexplained > HALF_LEVEL).double().mean())

    @property
    def stable(self) -> float:
        """Share of the re-encodings whose verdict is not the opposite one."""
        opposite = {Verdict.OURS: Verdict.NOT_OURS, Verdict.NOT_OURS: Verdict.OURS}
        wrong = opposite.get(self.image.verdict)
        kept = sum(one.verdict is not wrong for one in self.reencodings)
        return kept / len(self.reencodings)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; maps as lists of rows."""
        return {
            "image": self.image.to_dict(),
            "channels": [
                {"index": c.index, "difference": c.difference, "places": c.places.tolist()}
                for c in self.channels
            ],
            "pixels_out_of_reach": self.out_of_reach,
            "unexplained": None if self.unexplained is None else self.unexplained.tolist(),
            "pieces": dict(self.pieces),
            "reencodings": [
                dataclasses.asdict(one) | {"verdict": str(one.verdict)} for one in self.reencodings
            ],
            "stable": self.stable,
            "digests": dict(self.digests),
        }


def _shipped(quality: int, kind: str) -> Callable[[Tensor], Tensor]:
    return lambda x: (jpeg if kind == "JPEG" else webp)(x, quality)


def _rescaled(share: float) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        height, width = x.shape[1:]
        size = max(1, round(height * share)), max(1, round(width * share))
        return crop_and_resize(crop_and_resize(x, size), (height, width))

    return change


# What is done, how, and the file that it would arrive in: (format, quality, scale).
REENCODINGS: tuple[tuple[str, Callable[[Tensor], Tensor], tuple[str, int | None, float]], ...] = (
    ("saved again without loss", lambda x: x, ("PNG", None, 1.0)),
    ("JPEG, quality 95", _shipped(95, "JPEG"), ("JPEG", 95, 1.0)),
    ("JPEG, quality 85", _shipped(85, "JPEG"), ("JPEG", 85, 1.0)),
    ("JPEG, quality 75", _shipped(75, "JPEG"), ("JPEG", 75, 1.0)),
    ("WebP, quality 80", _shipped(80, "WEBP"), ("WEBP", None, 1.0)),
    ("scaled to three quarters", _rescaled(0.75), ("PNG", None, 0.75)),
    ("scaled to one and a half", _rescaled(1.5), ("PNG", None, 1.5)),
    ("cropped by a sixteenth, scaled back", lambda x: crop(x, 15 / 16), ("PNG", None, 1.0)),
    ("softened (0.6 px)", lambda x: blur(x, 0.6), ("PNG", None, 1.0)),
)


def explain(
    fitted: Attributor,
    image: Tensor,
    *,
    name: str = "image",
    digest: str | None = None,
    carrier: Carrier | None = None,
) -> Explanation:
    """Everything that the attributor can say about one image (C, H, W), uint8 or in [0, 1].

    An `InputError` for an image without a finite score: there is nothing to explain.
    """
    pixels = as_stored(image[None], fitted.image_shape)
    row = fitted.check(
        pixels,
        names=[name],
        digests=None if digest is None else [digest],
        carriers=None if carrier is None else [carrier],
    ).images[0]
    if row.score is None:
        raise InputError(f"{name} cannot be explained: it {row.reason}")
    scores = fitted.calibration_of(row.condition or "")
    x = to_float(pixels)
    scorer = fitted.scorer_of(row.condition or "")
    parts = _inverting_parts(scorer)
    pieces: dict[str, float] = {}
    if isinstance(scorer, Ensemble):
        values = scorer.pieces(x)[0].tolist()
        pieces = dict(zip(scorer.names, values, strict=True))
    return Explanation(
        row,
        {"own": scores.own, "other": scores.other},
        () if parts is None else _channels(*parts, x),
        None if parts is None else _unexplained(parts[0], x),
        pieces,
        tuple(_reencoded(fitted, pixels[0], *one) for one in REENCODINGS),
        {
            "image": row.digest or "",
            "generator": fitted.provenance["generator"]["digest"],
            "others": fitted.provenance["others"]["digest"],
            "attributor": digest_tensors(fitted.tensors()),
        },
    )


def _inverting_parts(found: Scorer) -> tuple[FeatureMap, FittedDeepSad] | None:
    if isinstance(found, Ensemble):
        found = found.flipad
    return (found.features, found.detector) if isinstance(found, Evidence) else None


def _channels(features: FeatureMap, detector: FittedDeepSad, x: Tensor) -> tuple[Channel, ...]:
    z = (features.extract(x).float() - detector.mean) / detector.scale
    z = z[0].cpu()
    if z.ndim != 3:
        z = z.reshape(-1, 1, 1)
    difference = z.abs().mean(dim=(1, 2))
    kept = range(len(z)) if features.channels is None else features.channels.tolist()
    order = difference.argsort(descending=True, stable=True)[:SHOWN_CHANNELS].tolist()
    return tuple(Channel(int(kept[i]), float(difference[i]), z[i]) for i in order)


def _unexplained(features: FeatureMap, x: Tensor) -> Tensor | None:
    """None with a window: its o is not that of a whole image."""
    if features.window is not None:
        return None
    z = features.invert(x).activations
    with full_precision(z.device):
        made = features.output_map.forward(features.last_layer.apply(z))
    return (255 * (made.cpu() - x)).abs().amax(dim=1)[0]


def _reencoded(
    fitted: Attributor,
    pixels: Tensor,
    change: str,
    apply: Callable[[Tensor], Tensor],
    file: tuple[str, int | None, float],
) -> Reencoding:
    kind, quality, scale = file
    height, width = fitted.image_shape[1:]
    size = round(height * scale), round(width * scale)
    carrier = Carrier(kind, kind == "PNG", quality, size)
    row = fitted.check(apply(pixels)[None], carriers=[carrier]).images[0]
    return Reencoding(change, row.verdict, row.p_value, row.condition, row.reason)
