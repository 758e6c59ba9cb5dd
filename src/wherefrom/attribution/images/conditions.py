"""The states in which an image may arrive, told from its file, each with a calibration of its own.

A p-value compares an image with own images that went the same way.  Which way that was is decided
by what can be seen without knowing the origin (codec, JPEG quality, size, noise level), so that it
is the same for own images and for others: Mondrian conformal prediction, Vovk, Gammerman, Shafer:
Algorithmic Learning in a Random World, 2005, Section 4.5.  The promise holds within a condition for
images whose alteration is like that of the calibration images: a quality, a scale, a noise level
from the stated range.

Immunisation (`Immunity`) trains on images that were altered like those that will be checked.
Laszkiewicz et al., ICML 2024, Section 5.2 and Table 3: a detector that has seen an alteration in
training stands it better.

Deviation: the paper trains one detector per alteration, the very one that is then tested; here one
detector sees all kinds, strengths at random, and chains of two, and any kind may be left out to
test on.  With `experts` there is one per kind that a file shows (`Specialty`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.attribution.images.jpeg_bands import JPEG_BANDS, jpeg_band
from wherefrom.core.rng import derive_seed, stream
from wherefrom.data.altering.degradations import (
    CHAIN,
    KINDS,
    Alteration,
    degrade_all,
    jpeg,
    noise,
    webp,
)
from wherefrom.data.decoding.images import Carrier
from wherefrom.data.images.items import crop_and_resize
from wherefrom.metrics.noise_level import noise_level

CLEAN = "clean"
NOISY = "noisy"
SCALES = (0.5, 2.0)  # size of a file over the model's size
WEBP_QUALITIES = (60, 98)
NOISES = (0.01, 0.12)
NOISE_QUANTILE = 0.995  # of own images: beyond it an image counts as noisy


@dataclass(frozen=True)
class Condition:
    """One state: its name, the kind of degradation it belongs to, and how to bring it about."""

    name: str
    kind: str
    change: Callable[[Tensor, torch.Generator], Tensor]

    def applied(self, images: Tensor, seed: int) -> Tensor:
        """uint8 (N, C, H, W) in this state; image i depends on itself, i and the seed only."""
        changed = [
            self.change(image, stream(seed, "condition", self.name, index))
            for index, image in enumerate(images)
        ]
        return torch.stack(changed) if changed else images


def _whole(low: int, high: int, rng: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=rng))


def _share(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng))


def _scaled(image: Tensor, rng: torch.Generator) -> Tensor:
    """Scaled by a random factor, as somebody may, and back, as `check` does."""
    scale = SCALES[0] * (SCALES[1] / SCALES[0]) ** float(torch.rand((), generator=rng))
    return rescaled(image, scale)


def rescaled(image: Tensor, scale: float) -> Tensor:
    """The image (C, H, W) made `scale` times as large, and scaled back."""
    height, width = image.shape[1:]
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return crop_and_resize(crop_and_resize(image, size), (height, width))


def _in_band(low: int, high: int) -> Condition:
    return Condition(f"JPEG {low}-{high}", "jpeg", lambda x, rng: jpeg(x, _whole(low, high, rng)))


CONDITIONS: tuple[Condition, ...] = (
    *(_in_band(*band) for band in JPEG_BANDS),
    Condition("WebP", "webp", lambda x, rng: webp(x, _whole(*WEBP_QUALITIES, rng))),
    Condition("scaled", "crop", _scaled),
    Condition(NOISY, "noise", lambda x, rng: noise(x, _share(*NOISES, rng), rng)),
)


KIND_OF = {condition.name: condition.kind for condition in CONDITIONS}


@dataclass(frozen=True)
class Immunity:
    """The alterations of the images that a method learns from, the same for every class.

    Own images, the others and self-made negatives pass the same kinds at the same rate, so that no
    trace of an alteration tells one class from another.
    """

    share: float = 0.0
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: AttributionConfig) -> Self:
        """What the settings ask for; nothing for a method that does not learn."""
        if not isinstance(config, TrainedConfig) or config.immunise == 0:
            return cls()
        kinds = tuple(kind for kind in (*KINDS, CHAIN) if kind != config.left_out)
        if config.left_out in KINDS:  # a chain may hold any kind
            kinds = tuple(kind for kind in kinds if kind != CHAIN)
        return cls(config.immunise, kinds)

    def applied(self, images: Tensor, seed: int, *path: object) -> Tensor:
        """uint8 (N, C, H, W) after it; image i depends on itself, i and the path only."""
        if not self.kinds:
            return images
        return degrade_all(
            images,
            self.kinds,
            seed=derive_seed(seed, "immunity", *path),
            clean_share=1 - self.share,
        )


NONE = Immunity()


@dataclass(frozen=True)
class Specialty(Immunity):
    """What an expert is trained on: every image in one of `conditions`, at random."""

    conditions: tuple[Condition, ...] = ()

    def applied(self, images: Tensor, seed: int, *path: object) -> Tensor:
        """uint8 (N, C, H, W) after it; image i depends on itself, i and the path only."""
        source = derive_seed(seed, "specialty", *path)
        changed = []
        for index, image in enumerate(images):
            rng = stream(source, "which", index)
            chosen = self.conditions[int(torch.randint(len(self.conditions), (), generator=rng))]
            changed.append(chosen.change(image, stream(source, chosen.name, index)))
        return torch.stack(changed) if changed else images


def specialties(immunity: Immunity) -> dict[str, Specialty]:
    """By kind of alteration, for the conditions that immunisation with these kinds calibrates."""
    known = conditions_for(immunity)
    return {
        kind: Specialty(1.0, (kind,), tuple(each for each in known if each.kind == kind))
        for kind in dict.fromkeys(each.kind for each in known)
    }


def condition_after(alteration: Alteration | None) -> str:
    """The condition in which an image arrives that was lossless, clean and of the model's size.

    Blur and a crop that was scaled back do not show.  "" where no calibration is known.
    """
    if alteration is None or alteration.kind in ("blur", "crop"):
        return CLEAN
    if alteration.kind == "noise":
        return NOISY
    kind, quality = alteration.kind.upper(), round(alteration.strength)
    return _codec(Carrier(kind, False, quality, (0, 0)))[0]


def conditions_for(immunity: Immunity) -> tuple[Condition, ...]:
    """The conditions whose kind was seen in training; none without immunisation."""
    return tuple(each for each in CONDITIONS if each.kind in immunity.kinds)


@dataclass(frozen=True)
class NoiseRange:
    """Noise levels: own images stay below `clean`, those of the noisy calibration below `most`."""

    clean: float
    most: float

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> Self:
        """From its fields as JSON values."""
        return cls(float(saved["clean"]), float(saved["most"]))

    @classmethod
    def of(cls, own: Tensor, noisy: Tensor) -> Self:
        """From own images and noisy ones, float (N, C, H, W) in [0, 1]."""
        clean = float(torch.quantile(noise_level(own), NOISE_QUANTILE))
        return cls(clean, max(clean, float(noise_level(noisy).max())))


def change_by_file(carrier: Carrier, size: tuple[int, ...]) -> str:
    """What the file did to the pixels of an image of that size, in words; "" for nothing."""
    if carrier.altered:
        return f"its pixels were changed ({carrier.altered}), and that"
    if not carrier.lossless:
        return "the file is lossy (JPEG or the like), and compression"
    if carrier.size != size:
        return "the file is of another size than the model's images, and scaling"
    return ""


def condition_of(
    carrier: Carrier | None, level: float, size: tuple[int, int], noise: NoiseRange | None
) -> tuple[str, str]:
    """The condition of an image, and why it has none that is known ("" if it has).

    `level` is its noise level at the model's `size`; `carrier` None: pixels without a file.
    """
    if carrier is not None and carrier.altered:
        return "", f"its pixels were changed ({carrier.altered}), and no calibration covers that"
    if carrier is not None and carrier.size != size:
        return _scale(carrier, size)
    if carrier is not None and not carrier.lossless:
        return _codec(carrier)
    if noise is None or level <= noise.clean:
        return CLEAN, ""
    if level > noise.most:
        return "", (
            f"its noise level is {level:.3g} of the range; calibrated is up to {noise.most:.3g}"
        )
    return NOISY, ""


def _scale(carrier: Carrier, size: tuple[int, int]) -> tuple[str, str]:
    if not carrier.lossless:
        return "", "the file is both scaled and compressed, and no calibration covers the two"
    scale = min(carrier.size[0] / size[0], carrier.size[1] / size[1])
    if SCALES[0] <= scale <= SCALES[1]:
        return "scaled", ""
    return "", (
        f"the file is {scale:.2g} times the model's size; calibrated are "
        f"{SCALES[0]:g} to {SCALES[1]:g}"
    )


def _codec(carrier: Carrier) -> tuple[str, str]:
    if carrier.format == "WEBP":
        return "WebP", ""
    if carrier.quality is None:
        return "", f"no calibration covers lossy {carrier.format} files"
    return jpeg_band(carrier.quality)


def rows_by(labels: Sequence[str]) -> dict[str, list[int]]:
    """The numbers of the rows of each label, in the order in which labels first occur."""
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return rows
