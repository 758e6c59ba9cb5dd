"""What a method of attribution is: one file that turns images into scores, and can be saved.

To add one, write a file in `methods` with

    a config       a subclass of `AttributionConfig`, or of `TrainedConfig` if it learns from the
                   owner's images against the others
    a scorer       a frozen subclass of `Scorer` with `score` and `to_saved`, and with `details` if
                   it can show more of an image; larger score = less likely ours
    a `Method`     that names it and knows how to fit and how to read it back

and add the `Method` to `methods.METHODS`.  Splitting, calibration, p-values, verdicts, saving, the
command line and the comparison of methods then hold for it as for every other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.images.conditions import NONE, Immunity
from wherefrom.attribution.images.own_images import (
    REFERENCE,
    TRAINING,
    GivenImages,
    ImageSource,
    OwnParts,
)
from wherefrom.core.config import Config
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.generators.generator import Generator, carried
from wherefrom.generators.last_layer.introspection import holds_numbers

NUMBERS = "numbers"  # the preset for rows of a table and for signals


@dataclass(frozen=True, eq=False)
class Channel:
    """One activation channel: how far its places lie from own images', in their deviations."""

    index: int
    difference: float  # mean of |z| over its places
    places: Tensor  # z, (h, w) float32


@dataclass(frozen=True, eq=False)
class ScoreDetails:
    """What a scorer can show of one image besides its score; empty for a method that shows nothing.

    `channels`: the activation channels that differ most.  `unexplained`: |x - x_hat| in 8-bit
    levels, the largest over the colours, (H, W), of the nearest image that the last layer was found
    to make.  `pieces`: the scores that were joined, by name.
    """

    channels: tuple[Channel, ...] = ()
    unexplained: Tensor | None = None
    pieces: Mapping[str, float] = field(default_factory=dict)


class Scorer(Protocol):
    """The part of an attributor that differs from method to method."""

    def score(self, images: Tensor) -> Tensor:
        """Anomaly score, (N,) float64, of float32 images (N, C, H, W) in [0, 1]; larger = not ours.

        The score of an image does not depend on the images that it comes with.
        """
        ...

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors from which `Method.read` makes the scorer again."""
        ...

    def details(self, image: Tensor) -> ScoreDetails:
        """What stands behind the score of one image, float32 (1, C, H, W) in [0, 1]."""
        return ScoreDetails()


@dataclass(frozen=True, eq=False)
class FitMaterial:
    """What a method may learn from.  Every method of one seed gets the same images."""

    generator: Generator
    others: Tensor  # as stored, (M, C, H, W), to train on; none without a `TrainedConfig`
    seed: int
    track: Track = quiet
    device: torch.device | str = "cpu"
    immunity: Immunity = NONE  # `others` are altered by it already
    given: OwnParts = field(default_factory=dict)  # own images from disk, instead of samples

    @property
    def source(self) -> ImageSource:
        """Where own images to train on, and their activations, are drawn from."""
        return self.given.get(TRAINING, self.generator)

    def own(self, count: int) -> Tensor:
        """`count` own images to train on, as stored, (count, C, H, W)."""
        seed = sample_seed(self.seed, "train")
        images = stored_samples(self.source, count, seed, track=self.track)
        return self.altered(images, "own")

    def reference(self, count: int, seed: int) -> Tensor:
        """`count` own images that nothing was trained on, as stored, for the units of scores.

        Of given images no more than there are.
        """
        source = self.given.get(REFERENCE, self.generator)
        if isinstance(source, GivenImages):
            count = min(count, len(source))
        return stored_samples(source, count, seed, track=self.track)

    def altered(self, images: Tensor, name: str) -> Tensor:
        """Images to train on, uint8 (N, C, H, W), altered as the immunity asks."""
        return self.immunity.applied(images, self.seed, name)


@dataclass(frozen=True, eq=False)
class SavedScorer:
    """What `Method.read` is given."""

    config: Any  # of the method's own type
    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    generator: Generator | None = None  # where the caller has it
    device: torch.device | str = "cpu"

    def part(self, name: str, config: Any, *, head: str = "") -> SavedScorer:
        """The scorer saved as a part of this one: meta under `name`, tensors after `head`.

        The default head is `name` and a dot.
        """
        meta, head = self.meta[name], head or f"{name}."
        if not isinstance(meta, Mapping):
            raise TypeError(f"{meta!r} is not a mapping")
        tensors = {k.removeprefix(head): v for k, v in self.tensors.items() if k.startswith(head)}
        return replace(self, config=config, meta=meta, tensors=tensors)

    def require_generator(self) -> Generator:
        """The generator on the device; `attribution.load` has refused its absence."""
        if self.generator is None:
            raise TypeError("this scorer is read together with its generator")
        return self.generator.to(self.device)


@dataclass(frozen=True, eq=False, kw_only=True)
class Method:
    """One method behind `attribution.fit`."""

    name: str  # as in `fit(..., method=name)`
    title: str  # as in the paper's tables
    presets: Mapping[str, AttributionConfig]
    fit: Callable[[FitMaterial, Any], Scorer]
    read: Callable[[SavedScorer], Scorer]
    # Whether scoring by these settings runs the whole model: the artifact then does not hold it.
    needs_generator: Callable[[Any], bool] = lambda config: False
    needs: str = ""  # "latent" or "encoder": what not every generator has

    def lacks(self, generator: Generator) -> str:
        """What this generator lacks for the method, "" if nothing."""
        has = {"latent": generator.latent_shape is not None, "encoder": generator.has_encoder}
        return self.needs if self.needs and not has[self.needs] else ""

    def settings(
        self, config: AttributionConfig | None, *, numbers: bool = False
    ) -> AttributionConfig:
        """`config`, or the method's own default for images or numbers.

        An `InputError` for settings of another method, or that do not fit numbers.
        """
        if numbers and NUMBERS not in self.presets:
            raise InputError(
                f"the method {self.name} judges images, and this generator makes rows of numbers; "
                "take flipad, raw-pad or inversion-l2 (command line: --preset numbers)"
            )
        default = self.presets[NUMBERS if numbers else "default"]
        if config is not None and type(config) is not type(default):
            raise InputError(
                f"the method {self.name} takes a {type(default).__name__}, not a "
                f"{type(config).__name__}; give that, or another method"
            )
        chosen = default if config is None else config
        if numbers:
            _refuse_image_settings(chosen, default)
        return chosen


def _refuse_image_settings(config: Config, plain: Config, head: str = "") -> None:
    """An `InputError` for a setting for images alone that is not as in `plain`, of numbers."""
    for info in config.describe():
        value, usual = getattr(config, info.name), getattr(plain, info.name)
        if isinstance(value, Config):
            _refuse_image_settings(value, usual, f"{head}{info.name}.")
        elif info.images_only and value != usual:
            raise InputError(
                f"{head}{info.name} = {value} is for images, and this generator makes rows of "
                f"numbers; start from the preset {NUMBERS!r} (command line: --preset {NUMBERS})"
            )


def sample_seed(seed: int, role: str) -> int:
    """The seed of the generator's samples for `role` in a fit with `seed`, by whichever method.

    The path has the name of the first method: another name would change every measured number.
    """
    return derive_seed(seed, "flipad", role)


def stored_samples(
    generator: ImageSource, count: int, seed: int, *, track: Track = quiet
) -> Tensor:
    """`count` samples as a file holds them, (count, C, H, W): images uint8, numbers float32."""
    if isinstance(generator, GivenImages):
        return generator.stored(count, seed)
    batches = generator.sample_with_activations(count, seed)
    parts = (x for x, _ in track(batches, "sampling the model", total=generator.batch_count(count)))
    return torch.cat([x if generator.makes_numbers else to_uint8(x) for x in parts])


def as_stored(samples: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Samples (N, *shape) as a file holds them: images uint8, numbers float32.

    Images are uint8 or float in [0, 1]; rows may come as (N, D), signals as (N, C, T).  An
    `InputError` for another shape, and for numbers that are not finite.
    """
    numbers = holds_numbers(shape)
    given = carried(samples) if numbers else samples
    if given.ndim != 4 or tuple(given.shape[1:]) != shape:
        sizes = "x".join(map(str, samples.shape[1:])) or "single numbers"
        what, wanted = "images", "x".join(map(str, shape))
        if numbers:
            what, wanted = "samples", "x".join(str(n) for n in shape if n > 1)
        order = "" if numbers else " (channels x height x width)"
        raise InputError(
            f"the {what} are {sizes}{order}, this model makes {wanted}; give {what} of that size"
        )
    if not numbers:
        return given if given.dtype == torch.uint8 else to_uint8(given)
    if not bool(torch.isfinite(given).all()):
        raise InputError("the samples hold NaN or infinity; leave those rows out")
    return given.to(torch.float32)


def as_values(samples: Tensor) -> Tensor:
    """Stored samples as a `Scorer` sees them: pixels in [0, 1], numbers as they are, float32."""
    return to_float(samples) if samples.dtype == torch.uint8 else samples


def require_generator(
    path: Path | str, generator: Generator | None, meta: Mapping[str, Any], *, needed: bool
) -> None:
    """Refuse a missing generator where it is `needed`, and another one than that of the fit.

    `meta` is that of the artifact at `path`.  An `InputError` says what to give.
    """
    if generator is None:
        if needed:
            raise InputError(
                f"{path} judges images by reconstructing them with the whole model, which it does "
                "not hold; give the generator too (command line: --generator)"
            )
        return
    digest = meta.get("provenance", {}).get("generator", {}).get("digest")
    if generator.digest != digest:
        raise InputError(
            f"{path} was fitted for another generator ({digest}) than the one given "
            f"({generator.digest}); give that one"
        )
