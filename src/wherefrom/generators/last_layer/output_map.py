"""What follows the last linear operation: from the output activation o to the image, and back.

Laszkiewicz et al., ICML 2024, Section 4.1: sigma, an output activation that can be inverted.

A map is a chain of steps, each with forward, inverse and the range of its values.  Sizes that
grow with the number of images n are written as negative numbers: [-1, 3, 8, 8] is (n, 3, 8, 8) and
[-49, 10] is (49 n, 10).
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from wherefrom.core.errors import InputError

# atanh(1 - 1e-4) = 4.95: the o of a saturated pixel.  The official code's value.
CLIP = 1e-4

Range = tuple[float, float]


class Step(ABC):
    """One invertible step; `n` is the number of images in the batch."""

    kind: ClassVar[str]  # its name in a saved map

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.lower()

    @abstractmethod
    def forward(self, x: Tensor, n: int) -> Tensor:
        """Towards the image."""

    @abstractmethod
    def inverse(self, x: Tensor, n: int) -> Tensor:
        """Towards the output activation."""

    def range(self, before: Range) -> Range:
        """The range of the values after the step; a step that moves values only keeps it."""
        return before


@dataclass(frozen=True)
class Tanh(Step):
    """x = tanh(o)."""

    def forward(self, x: Tensor, n: int) -> Tensor:
        return torch.tanh(x)

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return torch.atanh(x.clamp(-1 + CLIP, 1 - CLIP))

    def range(self, before: Range) -> Range:
        return math.tanh(before[0]), math.tanh(before[1])


@dataclass(frozen=True)
class Sigmoid(Step):
    """x = sigmoid(o) = (tanh(o/2) + 1) / 2; clipped so that both inverses treat a pixel alike."""

    def forward(self, x: Tensor, n: int) -> Tensor:
        return torch.sigmoid(x)

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return torch.logit(x.clamp(CLIP / 2, 1 - CLIP / 2))

    def range(self, before: Range) -> Range:
        low, high = (0.5 * (math.tanh(value / 2) + 1) for value in before)
        return low, high


@dataclass(frozen=True)
class Clamp(Step):
    """x = min(max(o, low), high).  The inverse is the identity: a clipped value stays as it is."""

    low: float
    high: float

    def forward(self, x: Tensor, n: int) -> Tensor:
        return x.clamp(self.low, self.high)

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return x

    def range(self, before: Range) -> Range:
        return max(before[0], self.low), min(before[1], self.high)


@dataclass(frozen=True)
class Affine(Step):
    """x = scale * o + shift with plain numbers; scale is not 0."""

    scale: float
    shift: float

    def forward(self, x: Tensor, n: int) -> Tensor:
        return x * self.scale + self.shift

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return (x - self.shift) / self.scale

    def range(self, before: Range) -> Range:
        ends = sorted(value * self.scale + self.shift for value in before)
        return ends[0], ends[1]


@dataclass(frozen=True)
class Reshape(Step):
    """Another shape for the same values in the same order."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def forward(self, x: Tensor, n: int) -> Tensor:
        return x.reshape(_sizes(self.after, n))

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return x.reshape(_sizes(self.before, n))


@dataclass(frozen=True)
class Permute(Step):
    """Axes in another order."""

    dims: tuple[int, ...]

    def forward(self, x: Tensor, n: int) -> Tensor:
        return x.permute(self.dims)

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return x.permute([self.dims.index(axis) for axis in range(len(self.dims))])


@dataclass(frozen=True)
class Flip(Step):
    """Values in the reverse order along some axes, as from BGR to RGB."""

    dims: tuple[int, ...]

    def forward(self, x: Tensor, n: int) -> Tensor:
        return x.flip(self.dims)

    def inverse(self, x: Tensor, n: int) -> Tensor:
        return x.flip(self.dims)


STEPS: dict[str, type[Step]] = {step.kind: step for step in Step.__subclasses__()}


def derived_range(steps: tuple[Step, ...]) -> Range:
    """The range of values after `steps` for any o; infinite where no step bounds it."""
    reach = (-math.inf, math.inf)
    for step in steps:
        reach = step.range(reach)
    return reach


@dataclass(frozen=True)
class OutputMap:
    """The steps after the last linear operation, and the model's own value range.

    `images`: the values are pixels of that range and are cut off at its ends; otherwise they are
    numbers of any size, left as they are.
    """

    steps: tuple[Step, ...]
    value_range: Range
    images: bool = True

    @classmethod
    def make(
        cls, steps: tuple[Step, ...], value_range: Range | None = None, *, images: bool = True
    ) -> Self:
        """The map with the range given or, where tanh, sigmoid or clamp fix it, derived."""
        if not images:
            if value_range is not None:
                raise InputError(
                    "a value range says what is black and white, and this generator makes numbers, "
                    "not images; leave it out"
                )
            return cls(steps, (0.0, 1.0), images=False)
        reach = derived_range(steps)
        bounded = math.isfinite(reach[0]) and math.isfinite(reach[1])
        if value_range is None and not bounded:
            raise InputError(
                "the generator's output is not bounded by tanh, sigmoid or clamp, so its range of "
                "values is unknown; pass value_range (command line: --value-range -1,1)"
            )
        low, high = map(float, reach if value_range is None else value_range)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"value range {low},{high}: expected two numbers, the smaller first")
        slack = 1e-6 * (high - low)
        if bounded and not (low - slack <= reach[0] and reach[1] <= high + slack):
            raise InputError(
                f"value range {low:g},{high:g} would cut off values: the generator's output lies "
                f"in {reach[0]:g},{reach[1]:g}; leave value_range out, it is found from the output"
            )
        return cls(steps, (low, high))

    def forward(self, o: Tensor) -> Tensor:
        """Output activation (N, *output_shape) -> images (N, C, H, W) in [0, 1]."""
        return self.normalise(self.to_output(o))

    def to_output(self, o: Tensor) -> Tensor:
        """Output activation (N, *output_shape) -> the model's own output, in its own range."""
        x = o
        for step in self.steps:
            x = step.forward(x, len(o))
        return x

    def inverse(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] -> output activation (N, *output_shape).

        Exact up to rounding, except where information is gone: tanh and sigmoid are clipped
        (`CLIP`), values that a clamp cut off stay at its bound.
        """
        low, high = self.value_range
        x = images * (high - low) + low
        for step in reversed(self.steps):
            x = step.inverse(x, len(images))
        return x

    def normalise(self, output: Tensor) -> Tensor:
        """The model's own output -> images in [0, 1]; values outside the range are cut off."""
        if not self.images:
            return output
        low, high = self.value_range
        return ((output - low) / (high - low)).clamp(0.0, 1.0)

    def to_meta(self) -> dict[str, Any]:
        """Plain JSON values."""
        steps = [{"step": step.kind, **_plain_values(step)} for step in self.steps]
        return {"steps": steps, "value_range": list(self.value_range), "images": self.images}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Self:
        """The map that `to_meta` described, also after a trip through JSON."""
        low, high = meta["value_range"]
        steps = tuple(_read_step(dict(step)) for step in meta["steps"])
        return cls(steps, (float(low), float(high)), bool(meta.get("images", True)))


def _plain_values(step: Any) -> dict[str, Any]:
    values = dataclasses.asdict(step)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def _read_step(values: dict[str, Any]) -> Step:
    kind = STEPS[values.pop("step")]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _sizes(shape: tuple[int, ...], n: int) -> list[int]:
    return [-size * n if size < 0 else size for size in shape]
