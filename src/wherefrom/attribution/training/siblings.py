"""Held-out siblings: the model's own content, drawn by last layers that no fit has seen.

"Made by this model" is an accusation, and a second model of the same design and training data
makes pictures of the same content.  These stand-ins for such models calibrate the p-value that
guards the answer (`Attributor.check`): an image is called the model's only if siblings rarely score
as low.

Kinds, both absent from what the detectors are trained on (`other_layers.layer_changes`, and the
layers of `regressed_layers`, whose activations are random features and not the model's):

    gains     every input channel of the last layer is made louder or softer by a factor of its own,
              exp(0.5 n), n normal;
    redrawn   a layer whose kernels are drawn afresh, from the normal law with the second moments of
              the model's kernels, redraws the picture: three steps of conjugate gradients (Hestenes
              and Stiefel 1952) on min_z ||G' z - G_L z_own||^2, then G' z.

Every image gets a layer of its own: its score is a draw from the law over layers and images.
The strengths were chosen on fits to three of the zoo's models; experiments/attribution_siblings.py
measures the guard on siblings that chose nothing.

Deviation: the paper judges by one threshold and has no guard against siblings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from wherefrom.attribution.final_layer.least_squares import least_squares
from wherefrom.attribution.images.own_images import ImageSource
from wherefrom.attribution.protocol import as_stored
from wherefrom.attribution.training.other_layers import input_axis, without_skip
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed, stream
from wherefrom.generators.last_layer.layer import LastLayer

GAIN_DEVIATION = 0.5  # of the logarithm of a channel's gain
REDRAWING_STEPS = 3  # of conjugate gradients: more redraw the picture, own traces included

Redraw = Callable[[LastLayer, Tensor, torch.Generator], Tensor]


def draw_siblings(
    generator: ImageSource, kind: str, count: int, *, seed: int, track: Track = quiet
) -> Tensor:
    """`count` images of that kind as stored, 8-bit (count, C, H, W), each by a layer of its own."""
    bare = without_skip(generator)
    axis = _channel_axis(bare)
    images: list[Tensor] = []
    batches = generator.sample_with_activations(count, derive_seed(seed, "siblings", kind))
    total = generator.batch_count(count)
    for _, z in track(batches, f"drawing held-out siblings ({kind})", total=total):
        rows = range(len(images), len(images) + len(z))
        own = z.narrow(axis, 0, bare.input_shape[axis - 1])
        rest = generator.last_layer.apply(z) - bare.linear(own)
        redrawn = [
            SIBLING_KINDS[kind](bare, activation[None], stream(seed, "siblings", kind, row))
            for row, activation in zip(rows, own, strict=True)
        ]
        images += list(generator.output_map.forward(torch.cat(redrawn) + rest))
    return as_stored(torch.stack(images), generator.image_shape)


def _by_gains(layer: LastLayer, z: Tensor, rng: torch.Generator) -> Tensor:
    axis = _channel_axis(layer)
    shape = [1] * z.ndim
    shape[axis] = z.shape[axis]
    gains = (GAIN_DEVIATION * torch.randn(z.shape[axis], generator=rng)).exp()
    return layer.linear(z * gains.to(z).reshape(shape))


def _by_fresh_kernels(layer: LastLayer, z: Tensor, rng: torch.Generator) -> Tensor:
    other = dataclasses.replace(layer, weight=_fresh_kernels(layer, rng))
    return other.linear(least_squares(other, layer.linear(z), steps=REDRAWING_STEPS))


SIBLING_KINDS: dict[str, Redraw] = {"gains": _by_gains, "redrawn": _by_fresh_kernels}


def _fresh_kernels(layer: LastLayer, rng: torch.Generator) -> Tensor:
    """Kernels from the normal law with the second moments of the layer's, one per input channel."""
    axis = input_axis(layer)
    kernels = layer.weight.movedim(axis, 0)
    rows = kernels.flatten(1).double().cpu()
    drawn = torch.randn(len(rows), len(rows), generator=rng).double() / len(rows) ** 0.5
    fresh: Tensor = (drawn @ rows).to(layer.weight).reshape(kernels.shape)
    return fresh.movedim(0, axis).contiguous()


def _channel_axis(layer: LastLayer) -> int:
    """The axis of z (N, *input_shape) that the layer's inputs count along."""
    return len(layer.input_shape) if layer.kind == "dense" else 1
