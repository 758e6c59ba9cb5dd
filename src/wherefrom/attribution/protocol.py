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
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig
from wherefrom.attribution.immunity import NONE, Immunity
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed
from wherefrom.data.writing import to_float, to_uint8
from wherefrom.generators.generator import Generator, carried
from wherefrom.generators.last_layer.introspection import holds_numbers

NUMBERS = "numbers"  # the preset for rows of a table and for signals
# Settings that say something about pixels.
FOR_IMAGES = ("impostors", "classifier_samples", "immunise", "crop", "lasso.data")


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
    others: Tensor  # as stored, (M, C, H, W), to train on; none without a `TrainedConfig`
    seed: int
    track: Track = quiet
    device: torch.device | str = "cpu"
    immunity: Immunity = NONE  # `others` have been through it

    def own(self, count: int) -> Tensor:
        """`count` samples of the generator to train on, as stored, (count, C, H, W)."""
        seed = derive_seed(self.seed, "flipad", "train")
        images = stored_samples(self.generator, count, seed, track=self.track)
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
        if numbers:
            return self._settings_for_numbers(config)
        own = self.presets["default"]
        if config is not None and type(config) is not type(own):
            raise InputError(
                f"the method {self.name} takes a {type(own).__name__}, not a "
                f"{type(config).__name__}; give that, or another method"
            )
        return own if config is None else config

    def _settings_for_numbers(self, config: AttributionConfig | None) -> AttributionConfig:
        if NUMBERS not in self.presets:
            raise InputError(
                f"the method {self.name} judges images, and this generator makes rows of numbers; "
                "take flipad, raw-pad or inversion-l2"
            )
        chosen = self.settings(self.presets[NUMBERS] if config is None else config)
        plain, given = self.presets[NUMBERS].to_dict(), chosen.to_dict()
        for name in FOR_IMAGES:
            value = _setting(given, name)
            if value != _setting(plain, name):
                raise InputError(
                    f"{name} = {value} is for images, and this generator makes rows of numbers; "
                    f"start from the preset {NUMBERS!r} (command line: --preset {NUMBERS})"
                )
        return chosen


def _setting(values: Mapping[str, Any], name: str) -> Any:
    """The setting of that dotted name; None where the method has none of it."""
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def stored_samples(generator: Generator, count: int, seed: int, *, track: Track = quiet) -> Tensor:
    """`count` samples as a file holds them, (count, C, H, W): images uint8, numbers float32."""
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
