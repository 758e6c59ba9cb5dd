"""Splits a generator into z -> G_L z + b -> image by watching it run, and proves the split.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024, Section 4.1.

Symbols:
    z   input activation of the last linear operation, (N, *input_shape)
    o   its output G_L z + b, (N, *output_shape)

The "input of the layer" is what the operation itself gets: a convolution with reflection padding
sees the padded activation.  A skip connection that is added to o becomes a part of z (`skips`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.last_layer.linear_call import build_last_layer
from wherefrom.generators.last_layer.output_map import OutputMap, Range, Reshape
from wherefrom.generators.last_layer.output_steps import (
    FIRST_BATCH,
    SECOND_BATCH,
    added_bias,
    make_steps,
    skip_place,
    walk_back,
)
from wherefrom.generators.last_layer.tracing import LinearCall, LinearObserver, Node, Trace, watch
from wherefrom.generators.readiness import device_hint


@dataclass(frozen=True)
class Skip:
    """Where s is met in a run of the generator, and how it enters G'."""

    sum_index: int  # which addition of the run
    place: int  # which of its two operands
    inputs: int  # channels, or entries, of s: the last ones of G'
    length: float  # a

    def joined(self, z: Tensor, s: Tensor) -> Tensor:
        """(z, s / a) as one activation of G'; z and s with the same axes, channels or entries 1."""
        return torch.cat([z, s / self.length], dim=1)


def with_skip(layer: LastLayer, place: tuple[int, int]) -> tuple[LastLayer, Skip]:
    """G' of a layer that `takes_skip`; `place`: number of the addition, operand of s."""
    weight = layer.weight
    columns = weight.movedim(1, 0).flatten(1).norm(dim=1)
    length = float(columns.mean()) or 1.0  # a layer of zeros: s alone makes the image
    outputs = layer.output_shape[0 if layer.kind == "conv" else -1]
    kernel = weight.shape[2:]
    identity = weight.new_zeros(outputs, outputs, math.prod(kernel))  # one entry if dense
    identity[:, :, identity.shape[2] // 2] = length * torch.eye(outputs).to(weight)
    identity = identity.reshape(outputs, outputs, *kernel)  # in the middle of an odd kernel
    shape = list(layer.input_shape)
    shape[0 if layer.kind == "conv" else -1] += outputs
    extended = dataclasses.replace(
        layer, weight=torch.cat([weight, identity], dim=1), input_shape=tuple(shape)
    )
    return extended, Skip(*place, inputs=outputs, length=length)


def takes_skip(layer: LastLayer) -> bool:
    """Whether [G_L I] is a layer again: dense on vectors, or a convolution that keeps the size."""
    if layer.kind == "dense":
        return len(layer.input_shape) == 1
    return (
        layer.kind == "conv"
        and layer.groups == 1
        and all(size % 2 == 1 for size in layer.weight.shape[2:])
        and layer.input_shape[1:] == layer.output_shape[1:]
    )


# Largest difference, as a share of the value range, between the generator's own output and the
# last layer applied again: 1/40 of an 8-bit level, ~1000 float32 roundings.
SELF_TEST_TOLERANCE = 1e-4

# (number of images, seed) -> the generator's output.
Draw = Callable[[int, int], Tensor]


def holds_numbers(shape: tuple[int, ...]) -> bool:
    """Whether (C, H, W) is a row (1, 1, D) or a signal (C, 1, T) of numbers: no image is 1 high."""
    return shape[1] == 1


@dataclass(frozen=True, eq=False)
class FinalLayerSplit:
    """A generator's last linear operation and what follows it."""

    last_layer: LastLayer
    output_map: OutputMap
    image_shape: tuple[int, int, int]
    linear_index: int  # which of the linear operations of one run it is
    max_deviation: float  # of the self-test, as a share of the value range
    skip: Skip | None = None  # what is added to it, the last inputs of `last_layer`

    def activations(self, call: LinearCall, count: int) -> Tensor:
        """z of a run, float32 (count, *last_layer.input_shape)."""
        shape = list(self.last_layer.input_shape)
        if self.skip is None or call.skip is None:
            return _plain(call.activation).float().reshape(count, *shape)
        axis = 0 if self.last_layer.kind == "conv" else -1
        shape[axis] -= self.skip.inputs
        z = _plain(call.activation).float().reshape(count, *shape)
        return self.skip.joined(z, _plain(call.skip).float().reshape(count, -1, *shape[1:]))

    @property
    def skip_place(self) -> tuple[int, int] | None:
        """Where a run meets the skip."""
        return None if self.skip is None else (self.skip.sum_index, self.skip.place)


@dataclass(frozen=True, eq=False)
class _TracedRun:
    output: Tensor
    trace: Trace
    last: Node
    after: list[Node]


def introspect(draw: Draw, *, value_range: Range | None = None) -> FinalLayerSplit:
    """Find the last linear operation behind `draw` and check it on fresh samples.

    `draw(n, seed)` runs the generator in evaluation mode; the same arguments must give the same
    output, (n, C, H, W) floats; a height of 1 means numbers, not pixels (`holds_numbers`).
    `value_range` is the model's own (black, white); images need it where no tanh, sigmoid or clamp
    fixes it.  An `InputError` says why a generator cannot be split.
    """
    first = _trace(draw, FIRST_BATCH, 0)
    index, place = first.last.linear_index, skip_place(first.after)
    second = _trace(draw, SECOND_BATCH, 1, wanted=index, wanted_sum=place)
    output, captured = _capture(lambda: draw(FIRST_BATCH, 0), index, place)
    _check_repeatable(first.output, output)
    if [n.op for n in (first.last, *first.after)] != [n.op for n in (second.last, *second.after)]:
        raise InputError("the generator takes another path for another number of images")
    places = second.last.linear_index, skip_place(second.after)
    if second.trace.captured is None or places != (index, place):
        raise InputError("the generator runs another number of layers for another batch of images")
    calls = (captured, second.trace.captured)
    layer, raw_shape = build_last_layer((first.last, second.last), calls, added_bias(first.after))
    steps = make_steps(first.after, second.after)
    skip = None
    if place is not None:
        if not takes_skip(layer):
            raise InputError(
                f"a skip connection is added to {layer.name}, which is neither a dense layer on "
                "vectors nor a convolution of stride 1 that keeps the size; no way to invert it "
                "is built in"
            )
        layer, skip = with_skip(layer, place)
    own_shape = (-1, *layer.output_shape)
    if raw_shape != own_shape:
        steps = (Reshape(own_shape, raw_shape), *steps)
    _, channels, height, width = output.shape
    split = FinalLayerSplit(
        last_layer=layer,
        output_map=OutputMap.make(
            steps, value_range, images=not holds_numbers((channels, height, width))
        ),
        image_shape=(channels, height, width),
        linear_index=index or 0,
        max_deviation=0.0,
        skip=skip,
    )
    deviation = max(
        _deviation(split, call, out)
        for call, out in zip(calls, (output, second.output), strict=True)
    )
    if not deviation <= SELF_TEST_TOLERANCE:
        raise InputError(
            f"applying {layer.name} again does not give the generator's output (off by "
            f"{deviation:.1e} of the value range, at most {SELF_TEST_TOLERANCE:.0e} allowed; its "
            f"input is {captured.activation.dtype}); use float32 and a plain last layer"
        )
    return replace(split, max_deviation=deviation)


def run_split(call: Callable[[], Tensor], split: FinalLayerSplit) -> tuple[Tensor, Tensor]:
    """Run the generator once: images (N, C, H, W) in [0, 1], activations z (N, *input_shape).

    Both float32.  No other intermediate result is kept.
    """
    output, captured = _capture(call, split.linear_index, split.skip_place)
    z = split.activations(captured, len(output))
    if tuple(output.shape[1:]) != split.image_shape:
        raise InputError(
            f"the generator made images of shape {tuple(output.shape[1:])}, "
            f"but {split.image_shape} when it was wrapped; wrap it again"
        )
    return split.output_map.normalise(output.float()), z


def _trace(
    draw: Draw,
    n: int,
    seed: int,
    wanted: int | None = None,
    wanted_sum: tuple[int, int] | None = None,
) -> _TracedRun:
    trace = Trace(wanted, wanted_sum)
    output = _checked_output(_call(lambda: draw(n, seed), trace), n)
    if trace.batch_statistics:
        raise InputError(
            "a batch_norm uses the statistics of the batch even after eval(), so each image "
            "depends on its neighbours; keep running statistics and use evaluation mode"
        )
    last, after = walk_back(trace.operand(output))
    return _TracedRun(output, trace, last, after)


def _capture(
    call: Callable[[], Tensor], linear_index: int | None, place: tuple[int, int] | None
) -> tuple[Tensor, LinearCall]:
    observer = LinearObserver(linear_index, place)
    output = _call(call, observer)
    if observer.captured is None:
        raise InputError("the generator runs another number of layers for another batch of images")
    return _plain(output), observer.captured


def _call(call: Callable[[], Tensor], observer: LinearObserver) -> Tensor:
    try:
        output = watch(observer, call)
    except InputError:
        raise
    except Exception as error:  # a user's model may raise anything
        first_line = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"the generator failed: {type(error).__name__}: {first_line}{device_hint(error)}"
        ) from error
    if not isinstance(output, Tensor):
        raise InputError(
            f"the generator returned {type(output).__name__}, expected one tensor (N, C, H, W)"
        )
    return output


def _checked_output(output: Tensor, n: int) -> Tensor:
    shape = tuple(output.shape)
    if len(shape) != 4 or shape[0] != n or not output.dtype.is_floating_point:
        raise InputError(
            f"the generator returned {output.dtype} of shape {shape} for {n} latents, expected "
            f"floats of shape ({n}, C, H, W), or numbers: rows ({n}, D), signals ({n}, C, T)"
        )
    if shape[-1] in (1, 3) and shape[1] > 4 and not holds_numbers(shape[1:]):
        raise InputError(f"the generator's output {shape} has its channels last; permute it")
    if not torch.isfinite(output).all():
        raise InputError("the generator's output contains NaN or infinity; check its weights")
    return output


def _check_repeatable(first: Tensor, second: Tensor) -> None:
    reach = float(first.abs().max()) or 1.0
    if first.shape != second.shape or float((first - second).abs().max()) > 1e-4 * reach:
        raise InputError(
            "the generator gives another image for the same latent when called again (dropout or "
            "unseeded noise that eval() does not stop); give the module a sample(n, seed) method "
            "that seeds it"
        )


def _deviation(split: FinalLayerSplit, call: LinearCall, output: Tensor) -> float:
    """Largest difference to the generator's own output, as a share of the value range.

    Image by image, so that a chain that mixes the images of a batch does not pass.
    """
    z = split.activations(call, len(output))
    low, high = split.output_map.value_range
    reach = high - low if split.output_map.images else float(output.abs().max()) or 1.0
    worst = 0.0
    for own, image in zip(z[:, None], output.float()[:, None], strict=True):
        again = split.output_map.to_output(split.last_layer.apply(own))
        worst = max(
            worst, float((again - image).abs().max()) if again.shape == image.shape else 1.0
        )
    return worst / reach


def _plain(tensor: Tensor) -> Tensor:
    """Without gradient, and usable outside of inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
