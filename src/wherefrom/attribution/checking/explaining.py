"""Why one image got its verdict: re-encodings, and where the method inverts, its activations.

FLIPAD, Figures 4 and 11 to 15, show activation channels that differ; here they are those of the
image asked about, in the units in which the detector sees them.  The methods `flipad` and
`ensemble` have them, and what the inversion leaves over; the default, `patches`, inverts nothing.

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

from wherefrom.attribution.checking.fitted import Attributor
from wherefrom.attribution.images.conditions import rescaled
from wherefrom.attribution.protocol import Channel, as_stored
from wherefrom.attribution.result import ImageVerdict
from wherefrom.calibration.verdict import Verdict
from wherefrom.core.errors import InputError
from wherefrom.data.altering.degradations import blur, crop, jpeg, webp
from wherefrom.data.decoding.images import Carrier
from wherefrom.data.images.notebook import rows_as_frame, rows_as_html
from wherefrom.data.images.writing import to_float

HALF_LEVEL = 0.5  # of 255: what rounding alone leaves over


@dataclass(frozen=True)
class Reencoding:
    """The verdict on the image after one more alteration or saving."""

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
        agreeing = sum(again.verdict is not wrong for again in self.reencodings)
        return agreeing / len(self.reencodings)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, tensors as lists of rows."""
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
                dataclasses.asdict(again) | {"verdict": str(again.verdict)}
                for again in self.reencodings
            ],
            "stable": self.stable,
            "digests": dict(self.digests),
        }

    def to_dataframe(self) -> Any:
        """A pandas data frame with a row per re-encoding (extra `dataframe`)."""
        return rows_as_frame(self.to_dict()["reencodings"])

    def _repr_html_(self) -> str:
        caption = f"{self.image.name}: {self.image.verdict}; after a re-encoding:"
        return rows_as_html(self.to_dict()["reencodings"], caption=caption)


# What is done, how, and the file that it would arrive in: (format, quality, scale).
REENCODINGS: tuple[tuple[str, Callable[[Tensor], Tensor], tuple[str, int | None, float]], ...] = (
    ("saved again without loss", lambda x: x, ("PNG", None, 1.0)),
    ("JPEG, quality 95", lambda x: jpeg(x, 95), ("JPEG", 95, 1.0)),
    ("JPEG, quality 85", lambda x: jpeg(x, 85), ("JPEG", 85, 1.0)),
    ("JPEG, quality 75", lambda x: jpeg(x, 75), ("JPEG", 75, 1.0)),
    ("WebP, quality 80", lambda x: webp(x, 80), ("WEBP", None, 1.0)),
    ("scaled to three quarters", lambda x: rescaled(x, 0.75), ("PNG", None, 0.75)),
    ("scaled to one and a half", lambda x: rescaled(x, 1.5), ("PNG", None, 1.5)),
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
    """What the verdict on one image (C, H, W), uint8 or in [0, 1], rests on.

    An `InputError` for an image without a finite score: there is nothing to explain.
    """
    pixels = as_stored(image[None], fitted.image_shape)
    (row,) = fitted.judge(
        pixels,
        names=[name],
        digests=None if digest is None else [digest],
        carriers=None if carrier is None else [carrier],
    )
    if row.score is None:
        raise InputError(f"{name} cannot be explained: it {row.reason}")
    scores = fitted.calibration_of(row.condition or "")
    details = fitted.scorer_of(row.condition or "").details(to_float(pixels))
    return Explanation(
        image=row,
        calibration={"own": scores.own, "other": scores.other},
        channels=details.channels,
        unexplained=details.unexplained,
        pieces=details.pieces,
        reencodings=tuple(_reencoded(fitted, pixels[0], *change) for change in REENCODINGS),
        digests={
            "image": row.digest or "",
            "generator": fitted.provenance["generator"]["digest"],
            "others": fitted.provenance["others"]["digest"],
            "attributor": fitted.digest,
        },
    )


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
    (row,) = fitted.judge(apply(pixels)[None], carriers=[carrier])
    return Reencoding(change, row.verdict, row.p_value, row.condition, row.reason)
