"""Own images that the owner has on disk, in place of samples of the model.

What a model makes by itself need not be what its owner makes with it: the decoder of a latent
diffusion model, given noise, paints noise.  A fit on images from disk is about those images, and
runs no part of the model but its last layer.

Symbols:
    o    pre-activations sigma^-1(x) of an own image
    z    activations before the last layer: least squares, min ||G z + b - o||^2, by STEPS steps of
         conjugate gradients from z = 0

Deviation: the paper's owner samples the model, and knows the true z of every own image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wherefrom.attribution.config import AttributionConfig, TrainedConfig
from wherefrom.attribution.final_layer.least_squares import least_squares
from wherefrom.calibration.conformal import needed_samples
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_bytes, digest_tensors
from wherefrom.data.images.writing import to_float
from wherefrom.data.splits import split_indices
from wherefrom.generators.generator import Generator
from wherefrom.generators.last_layer.introspection import FinalLayerSplit
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.last_layer.output_map import OutputMap

LATENTS, ACTIVATIONS = "latents", "activations"
STEPS = 20  # of conjugate gradients; o of an 8-bit image is met to far less than its rounding
CALIBRATION_SHARE = 0.3  # of the own images, or as many as the settings ask for
REFERENCE_SHARE = 0.1  # of the own images: the units in which scores are joined
STAND_INS_SHARE = 0.2  # of the own images, where there are no others
MIN_REFERENCE = 20
NOISY_SPARE = 1.05  # with noisy files calibrated apart, a few own images count as noisy


@dataclass(frozen=True, eq=False)
class OwnInputs:
    """What the owner's images are made from, where the images themselves are not at hand.

    `kind` is `LATENTS`: values (N, *latent_shape), of which the model makes images and activations;
    or `ACTIVATIONS`: values (N, *last_layer.input_shape), of which its last layer makes images.

    Deviation: z-bar is the mean over these activations, the paper's over latents from N(0, 1).
    """

    kind: str
    values: Tensor  # float32

    def require(self, generator: Generator) -> None:
        """An `InputError` unless the values fit the model and are finite."""
        shape, wanted = tuple(self.values.shape[1:]), generator.last_layer.input_shape
        if self.kind == LATENTS:
            generator.require_latents(self.values)
        elif shape != wanted:
            raise InputError(
                f"activations of shape {shape}, the last layer of this model takes {wanted}; give "
                "what enters that layer, a row per image"
            )
        broken = ~torch.isfinite(self.values.flatten(1)).all(dim=1)
        if broken.any():
            first = int(broken.nonzero()[0, 0])
            raise InputError(
                f"{int(broken.sum())} of {len(broken)} rows of own {self.kind} hold NaN or "
                f"infinity, the first is row {first}; leave them out"
            )

    def samples(self, generator: Generator, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], or numbers, of these rows before any rounding, and their z."""
        values = self.values[rows]
        if self.kind == LATENTS:
            return generator.decode_with_activations(values)
        layer = generator.last_layer
        return generator.output_map.forward(layer.apply(values.to(layer.weight))), values

    def describe(self) -> dict[str, Any]:
        """Kind, number and digest, as JSON values."""
        digest = digest_tensors({self.kind: self.values})
        return {"kind": self.kind, "count": len(self.values), "digest": digest}


@dataclass(frozen=True, eq=False)
class GivenImages:
    """A part of the own images, which a fit draws from as it draws from a `Generator`.

    Image i of a seed depends on (seed, i) only.  Every image comes once before any comes again, in
    an order of the seed's own.
    """

    generator: Generator
    images: Tensor  # as stored, (N, C, H, W): of all parts
    rows: Tensor  # (n,) int64, those of this part
    inputs: OwnInputs | None = None  # of all parts: what the images were made from

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def last_layer(self) -> LastLayer:
        """G_L and its bias."""
        return self.generator.last_layer

    @property
    def output_map(self) -> OutputMap:
        """From the last layer's output to images in [0, 1]."""
        return self.generator.output_map

    @property
    def split(self) -> FinalLayerSplit:
        """How the generator is split before its last layer."""
        return self.generator.split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.generator.image_shape

    @property
    def makes_numbers(self) -> bool:
        """Whether they are rows or signals instead of images."""
        return self.generator.makes_numbers

    def stored(self, count: int, seed: int) -> Tensor:
        """Images 0 to count-1 of this seed as stored, (count, C, H, W)."""
        return self.images[self._order(count, seed)]

    def sample_with_activations(
        self, n: int, seed: int = 0, batch: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images 0 to n-1 of this seed, float32 (B, C, H, W), with z, (B, *last_layer.input_shape).

        At most `batch` at once.
        """
        for rows in torch.split(self._order(n, seed), self._batch_size(batch)):
            images = self.images[rows]
            values = images if self.makes_numbers else to_float(images)
            if self.inputs is None:
                yield values, self.activations(values)
            else:
                yield values, self.inputs.samples(self.generator, rows)[1]

    def batch_count(self, n: int, batch: int | None = None) -> int:
        """How many batches `sample_with_activations` yields."""
        return -(-n // self._batch_size(batch))

    def activations(self, values: Tensor) -> Tensor:
        """z of images (N, C, H, W) in [0, 1], or of numbers, (N, *last_layer.input_shape)."""
        layer = self.last_layer
        offset = layer.apply(torch.zeros(1, *layer.input_shape).to(layer.weight))
        o = self.output_map.inverse(values.to(offset))
        return least_squares(layer, o - offset, steps=STEPS)

    def _batch_size(self, batch: int | None) -> int:
        return min(batch or self.generator.batch_size, self.generator.batch_size)

    def _order(self, count: int, seed: int) -> Tensor:
        rounds = [
            torch.randperm(len(self.rows), generator=stream(seed, "own images", number))
            for number in range(-(-count // len(self.rows)))
        ]
        return self.rows[torch.cat(rounds)[:count]]


ImageSource = Generator | GivenImages  # what a fit draws own images and their activations from


# By name: training, reference, calibration, and a part for each kind of self-made sibling.
OwnParts = Mapping[str, GivenImages]
TRAINING, REFERENCE, CALIBRATION = "training", "reference", "calibration"
STAND_INS = "stand-ins"  # the part that self-made others are drawn from


def sibling_part(kind: str) -> str:
    """The name of the part that held-out siblings of that kind are made from."""
    return f"sibling {kind}"


def describe_parts(parts: OwnParts) -> dict[str, Any]:
    """How many images each part has, and the digest of all, as JSON values."""
    sizes = {name: len(part) for name, part in parts.items()}
    training = parts[TRAINING]
    digest = digest_tensors({"images": training.images})
    inputs = {} if training.inputs is None else {"made_from": training.inputs.describe()}
    count = sum(sizes.values())
    return {"origin": "given", "count": count, "digest": digest, "parts": sizes, **inputs}


def split_own(
    images: Tensor,
    generator: Generator,
    config: AttributionConfig,
    *,
    kinds: Sequence[str],
    seed: int,
    stand_ins: bool = False,
    inputs: OwnInputs | None = None,
) -> OwnParts:
    """Own images, as stored (N, C, H, W), in disjoint parts; duplicates count once.

    `kinds`: of siblings to calibrate.  `stand_ins`: with a part for self-made others.  `inputs`:
    what the images were made from, row by row.  No image is in two parts: what calibrates trains
    nothing.  An image's part depends on its content and the seed, not on its place.  An
    `InputError` says how many are needed where they are too few for the rates of the settings.
    """
    first_rows = {digest_bytes(image.numpy().tobytes()): i for i, image in enumerate(images)}
    keys = list(first_rows)
    sizes = _part_sizes(len(keys), config, kinds, stand_ins)
    if not _are_enough(sizes, config):
        doubles = len(images) - len(keys)
        again = f" ({doubles} more are duplicates)" if doubles else ""
        raise InputError(
            f"different own images given: {len(keys)}{again}; these error rates need at least "
            f"{needed_own(config, kinds, stand_ins)}; give more images that the model made, or "
            "larger rates"
        )
    given = torch.tensor(list(first_rows.values()))
    rows = split_indices(keys, sizes, seed=derive_seed(seed, "own images"))
    return {
        name: GivenImages(generator, images, given[part], inputs) for name, part in rows.items()
    }


def needed_own(config: AttributionConfig, kinds: Sequence[str], stand_ins: bool = False) -> int:
    """The smallest number of own images that supports the rates and leaves some to train on."""
    count = 1
    while not _are_enough(_part_sizes(count, config, kinds, stand_ins), config):
        count += 1
    return count


def _part_sizes(
    count: int, config: AttributionConfig, kinds: Sequence[str], stand_ins: bool
) -> dict[str, int]:
    """How many of `count` images each part gets; training gets what the others leave."""
    by_kind, needed_by_kind = 0, 0
    if kinds:
        needed_by_kind = needed_samples(config.sibling_rate, what="sibling rate")
        by_kind = max(config.sibling_samples, needed_by_kind)
    wanted = max(config.calibration_samples, _needed_calibration(config)) + len(kinds) * by_kind
    held = min(round(CALIBRATION_SHARE * count), wanted)
    by_kind = max(held * by_kind // wanted, needed_by_kind)
    reference = round(REFERENCE_SHARE * count)
    apart = {STAND_INS: round(STAND_INS_SHARE * count)} if stand_ins else {}
    return {
        **apart,
        CALIBRATION: held - len(kinds) * by_kind,
        **{sibling_part(kind): by_kind for kind in kinds},
        REFERENCE: reference,
        TRAINING: count - held - reference - sum(apart.values()),
    }


def _are_enough(sizes: dict[str, int], config: AttributionConfig) -> bool:
    return sizes[CALIBRATION] >= _needed_calibration(config) and sizes[REFERENCE] >= MIN_REFERENCE


def _needed_calibration(config: AttributionConfig) -> int:
    rate, confidence = config.false_negative_rate, config.confidence
    needed = needed_samples(rate, what="false-negative rate", confidence=confidence)
    if isinstance(config, TrainedConfig) and config.immunise > 0:
        needed = math.ceil(NOISY_SPARE * needed)
    return needed
