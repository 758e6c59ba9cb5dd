"""What a method of attribution is: one file that turns images into scores, and can be saved.

To add one, write a file beside this one with

    a config       a subclass of `AttributionConfig`, or of `TrainedConfig` if it learns from the
                   owner's images against the others
    a scorer       a frozen value with `score` and `to_saved`; larger score = less likely ours
    a `Method`     that names it and knows how to fit and how to read it back

and add the `Method` to `methods.METHODS`.  Splitting, calibration, p-values, verdicts, saving, the
command line and the comparison of methods then hold for it as for every other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.immunity import NONE, Immunity
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.data.writing import to_uint8
from wherefrom.generators.generator import Generator


class Scorer(Protocol):
    """The part of an attributor that differs from method to method."""

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64, of float32 images (N, C, H, W) in [0, 1]; larger = not ours.

        The score of an image is the same in whatever company it comes.
        """
        ...

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors from which `Method.read` makes the scorer again."""
        ...


@dataclass(frozen=True, eq=False)
class Material:
    """What a method may learn from.  Every method of one seed gets the same images."""

    generator: Generator
    others: Tensor  # uint8 (M, C, H, W), to train on; none for a method without `TrainedConfig`
    seed: int
    track: Track = quiet
    device: torch.device | str = "cpu"
    immunity: Immunity = NONE  # `others` have been through it

    def own(self, count: int) -> Tensor:
        """`count` images of the generator to train on, uint8 (count, C, H, W)."""
        seed = derive_seed(self.seed, "flipad", "train")
        images = sample_eight_bit(self.generator, count, seed, track=self.track)
        return self.worn(images, "own")

    def worn(self, images: Tensor, name: str) -> Tensor:
        """Images to train on, uint8 (N, C, H, W), altered as the immunity asks."""
        return self.immunity.applied(images, self.seed, name)


@dataclass(frozen=True, eq=False)
class Saved:
    """What `Method.read` is given."""

    config: Any  # of the method's own type
    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    generator: Generator | None  # where the caller has it
    device: torch.device | str


@dataclass(frozen=True, eq=False)
class Method:
    """One method behind `attribution.fit`."""

    name: str  # as in `fit(..., method=name)`
    title: str  # as in the paper's tables
    presets: Mapping[str, AttributionConfig]
    fit: Callable[[Material, Any], Scorer]
    read: Callable[[Saved], Scorer]
    needs_generator: bool = False  # to score, that is: the artifact does not hold all of it

    def settings(self, config: AttributionConfig | None) -> AttributionConfig:
        """`config`, or the method's own default; an `InputError` for settings of another method."""
        own = self.presets["default"]
        if config is not None and type(config) is not type(own):
            raise InputError(
                f"the method {self.name} takes a {type(own).__name__}, not a "
                f"{type(config).__name__}; give that, or another method"
            )
        return own if config is None else config


def sample_eight_bit(
    generator: Generator, count: int, seed: int, *, track: Track = quiet
) -> Tensor:
    """`count` images as a PNG file would hold them, uint8 (count, C, H, W)."""
    batches = generator.sample_with_activations(count, seed)
    return torch.cat([to_uint8(x) for x, _ in track(batches, "sampling", total=None)])
