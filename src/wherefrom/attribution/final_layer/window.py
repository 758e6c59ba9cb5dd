"""The last layer on a window of its activations, for images whose activations are too many.

A decoder of 512 px with 128 channels has 33 million.  FLIPAD's features for Stable Diffusion
are those of the centre alone (App. G.7), so only the centre and a halo around it need inverting.

The window's layer is exact: it maps a window of z to those outputs that depend on nothing outside.
The inversion is approximate: a z near the window's edge lacks some of the outputs that it reaches,
which shifts its neighbours too.  The effect fades inwards, and the halo is dropped.
How fast depends on the layer and on lam (docs/attribution-results.md has numbers): the smaller lam,
the farther places are coupled.  All images, own and other, pass through the same window.

Deviation: the official code inverts the whole image, then crops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from wherefrom.generators.last_layer.layer import LastLayer

Span = tuple[int, int]  # first, one past the last


@dataclass(frozen=True)
class Window:
    """Which places of z are inverted, which of o explain them, and which of the result count."""

    inputs: tuple[Span, ...]  # per spatial axis of z
    outputs: tuple[Span, ...]  # per spatial axis of o
    core: tuple[Span, ...]  # per spatial axis of the window's z

    def of_inputs(self, z: Tensor) -> Tensor:
        """The window of z, (..., *size)."""
        return _cut(z, self.inputs)

    def of_outputs(self, o: Tensor) -> Tensor:
        """What of o (..., *size) depends on the window of z and on nothing else."""
        return _cut(o, self.outputs)

    def without_halo(self, z: Tensor) -> Tensor:
        """The centre of a window of z."""
        return _cut(z, self.core)

    def to_meta(self) -> dict[str, Any]:
        """The spans as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Self:
        """The inverse of `to_meta`, also after a trip through JSON."""
        spans = {name: tuple((int(a), int(b)) for a, b in meta[name]) for name in meta}
        return cls(**spans)


def centre_window(layer: LastLayer, side: int, halo: int) -> tuple[Window, LastLayer] | None:
    """The window of the middle `side` places of each axis, `halo` more around, and its layer.

    None where that is all of z anyway: for a `side` of 0, a dense layer, and activations no larger.
    """
    if side == 0 or layer.kind == "dense":
        return None
    axes = [_axis(layer, i, side, halo) for i in range(len(layer.stride))]
    if all(axis.whole for axis in axes):
        return None
    window = Window(
        tuple(axis.inputs for axis in axes),
        tuple(axis.outputs for axis in axes),
        tuple(axis.core for axis in axes),
    )
    smaller = dataclasses.replace(
        layer,
        padding=tuple(axis.padding for axis in axes),
        output_padding=tuple(
            own if axis.whole else 0 for own, axis in zip(layer.output_padding, axes, strict=True)
        ),
        input_shape=(layer.input_shape[0], *(b - a for a, b in window.inputs)),
        output_shape=(layer.output_shape[0], *(b - a for a, b in window.outputs)),
    )
    return window, smaller


@dataclass(frozen=True)
class _Axis:
    inputs: Span
    outputs: Span
    core: Span
    padding: int
    whole: bool


def _axis(layer: LastLayer, i: int, side: int, halo: int) -> _Axis:
    size, length = layer.input_shape[1 + i], layer.output_shape[1 + i]
    step, pad = layer.stride[i], layer.padding[i]
    reach = (layer.weight.shape[2 + i] - 1) * layer.dilation[i]
    # Every place that counts keeps all of the outputs that it reaches.
    halo = max(halo, reach if layer.kind == "conv" else reach // step)
    side = min(side, size)
    middle = (size - side) // 2
    first, last = max(middle - halo, 0), min(middle + side + halo, size)
    if layer.kind == "conv":
        # output j sees inputs j step - pad ... + reach; the window ends where outputs' views end
        low, high = (first + pad) // step, -(-(last - 1 - reach + pad) // step) + 1
        first, last = low * step - pad, (high - 1) * step - pad + reach + 1
        outputs, padding = (low, high), 0
    else:
        # input i writes outputs i step - pad ... + reach; those that a neighbour outside writes to
        # are cut off on both sides
        padding = max(reach + 1 - step, 0)
        low = first * step - pad + padding
        outputs = (low, low + (last - first - 1) * step - 2 * padding + reach + 1)
    if first <= 0 or last >= size:  # at a border the padding counts: take the whole axis
        return _Axis((0, size), (0, length), (middle, middle + side), pad, True)
    return _Axis((first, last), outputs, (middle - first, middle - first + side), padding, False)


def _cut(x: Tensor, spans: tuple[Span, ...]) -> Tensor:
    for axis, (start, stop) in enumerate(spans, start=x.ndim - len(spans)):
        x = x.narrow(axis, start, stop - start)
    return x
