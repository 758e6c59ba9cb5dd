"""Check whether an encoder's complexity exceeds the rounding of float32.

A noise step moves a value by about 1e-5.  Where rounding moves features more than that, consecutive
steps are differences of independent errors: their cosine is -1/2 and their angle 2 pi / 3, whatever
the image.  So it is in half precision, and it may be in float32.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wherefrom.anomaly.config import DEFAULT, AnomalyConfig
from wherefrom.anomaly.measuring.features import path_complexities
from wherefrom.anomaly.measuring.items import check_images, digest_pixels
from wherefrom.data.splits import sample_indices
from wherefrom.encoders.features import FeatureEncoder

NOISE_ANGLE = 2 * math.pi / 3
CHECKED = 8
TOLERANCE = 0.25  # relative difference of float32 and float64 above which C counts as noise
NEAR = 0.15  # radians around 2 pi / 3


@dataclass(frozen=True)
class NumericsCheck:
    """Complexities of the same images along the same directions, by two precisions."""

    single: tuple[float, ...]  # C in float32, radians
    double: tuple[float, ...]  # C in float64; empty where the encoder cannot compute in it
    still: int  # noise steps that moved no feature, of `steps`
    steps: int

    @property
    def difference(self) -> float:
        """Largest |C32 - C64| / C64, NaN without float64."""
        pairs = zip(self.single, self.double, strict=False)
        relative = [abs(a - b) / b if b > 0 else (math.inf if a > 0 else 0.0) for a, b in pairs]
        return max(relative, default=math.nan)

    @property
    def is_noise(self) -> bool:
        """Whether the complexity is mostly rounding."""
        near = [abs(angle - NOISE_ANGLE) < NEAR for angle in self.single]
        return sum(near) * 2 > len(near) or self.difference > TOLERANCE

    @property
    def message(self) -> str:
        """The result in one sentence."""
        shown = f"mean angle {sum(self.single) / max(1, len(self.single)):.4f} rad"
        if self.double:
            shown += f", float64 differs by at most {self.difference:.1%}"
        else:
            shown += ", not compared with float64"
        if self.still:
            shown += f"; {self.still} of {self.steps} noise steps moved no feature"
        if self.is_noise:
            return f"the complexity is rounding noise ({shown}): raise epsilon or do not use it"
        return f"the complexity stands above rounding ({shown})"

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "is_noise": self.is_noise, "message": self.message}


def check_numerics(
    images: Tensor, encoder: FeatureEncoder, *, config: AnomalyConfig = DEFAULT, seed: int = 0
) -> NumericsCheck:
    """Compare float32 with float64 on at most 8 images (N, 3, H, W) float in [0, 1].

    They are drawn by their content, and one noise direction each is followed.
    """
    check_images(images)
    keys = [digest_pixels(image) for image in images]
    chosen = images[sample_indices(keys, CHECKED, seed=seed)]
    single, still = path_complexities(chosen.float(), encoder, config=config, seed=seed)
    defined, wide = ~single.isnan(), encoder.in_double()
    double: tuple[float, ...] = ()
    if wide is not None:
        in_double, _ = path_complexities(chosen.double(), wide, config=config, seed=seed)
        double = tuple(in_double[defined].tolist())
    return NumericsCheck(
        single=tuple(single[defined].tolist()),
        double=double,
        still=int(still.sum()),
        steps=config.steps * len(chosen),
    )
