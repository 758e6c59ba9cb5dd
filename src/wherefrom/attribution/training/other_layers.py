"""The model's own content drawn by other last layers.

A sibling of the model, trained again or copied, makes like pictures and ends in other numbers.
The owner needs no sibling to show a detector what that looks like: their own activations z, sent
through altered copies of G_L, are such pictures.

Deviation: FLIPAD's negatives are real images (or one rival's) only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from wherefrom.attribution.images.own_images import ImageSource
from wherefrom.attribution.protocol import as_stored
from wherefrom.attribution.training.impostors import make_impostors
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.generators.last_layer.layer import LastLayer

IMAGES_PER_LAYER = 32
MOVED = 0.5  # share of the impostors among self-made others that is mirrored or moved

Change = Callable[[LastLayer, torch.Generator], Tensor]


def _noise(share: float) -> Change:
    def change(layer: LastLayer, rng: torch.Generator) -> Tensor:
        w = layer.weight
        return w + share * w.std() * torch.randn(w.shape, generator=rng).to(w)

    return change


def _mix_inputs(layer: LastLayer, rng: torch.Generator) -> Tensor:
    w = layer.weight.movedim(input_axis(layer), -1)
    size = w.shape[-1]
    mixing = torch.eye(size) + 0.3 * torch.randn(size, size, generator=rng) / size**0.5
    mixed: Tensor = w @ mixing.to(w)
    return mixed.movedim(-1, input_axis(layer))


def _drop_inputs(layer: LastLayer, rng: torch.Generator) -> Tensor:
    """An eighth of the input channels less, the others louder by as much."""
    keep = 7 / 8
    axis = input_axis(layer)
    chosen = torch.rand(layer.weight.shape[axis], generator=rng) < keep
    shape = [-1 if i == axis else 1 for i in range(layer.weight.ndim)]
    louder: Tensor = chosen.to(layer.weight).reshape(shape) / keep
    return layer.weight * louder


def _flatten_kernels(layer: LastLayer, rng: torch.Generator) -> Tensor:
    """Half of the input channels lose half of what varies within their kernels."""
    w, axis = layer.weight, input_axis(layer)
    space = tuple(range(2, w.ndim))
    chosen = torch.rand(w.shape[axis], generator=rng) < 0.5
    shape = [-1 if i == axis else 1 for i in range(w.ndim)]
    flat = 0.5 * (w + w.mean(dim=space, keepdim=True))
    return torch.where(chosen.to(w.device).reshape(shape), flat, w)


def _blend_mirrored(layer: LastLayer, rng: torch.Generator) -> Tensor:
    w = layer.weight
    axis = int(torch.randint(2, w.ndim, (1,), generator=rng))
    return 0.5 * (w + w.flip(axis))


def layer_changes(layer: LastLayer) -> tuple[Change, ...]:
    """The changes that mean something for this layer."""
    changes: list[Change] = [_noise(0.08), _noise(0.15), _noise(0.3), _noise(0.5), _drop_inputs]
    if layer.kind != "dense":
        changes.append(_mix_inputs)
    if any(size > 1 for size in layer.weight.shape[2:]):
        changes += [_flatten_kernels, _blend_mirrored]
    return tuple(changes)


def draw_by_other_layers(
    generator: ImageSource, count: int, *, seed: int, track: Track = quiet
) -> Tensor:
    """`count` samples of the generator's content, as stored, (count, C, H, W); a layer per 32."""
    layer, bare = generator.last_layer, without_skip(generator)
    skip_weight = layer.weight[:, bare.weight.shape[1] :]
    changes = layer_changes(bare)
    images = []
    batches = generator.sample_with_activations(count, seed, batch=IMAGES_PER_LAYER)
    number = generator.batch_count(count, IMAGES_PER_LAYER)
    for index, (_, z) in enumerate(track(batches, "sampling other last layers", total=number)):
        rng = stream(seed, "other layers", index)
        weight = changes[index % len(changes)](bare, rng)
        other = dataclasses.replace(layer, weight=torch.cat([weight, skip_weight], dim=1))
        samples = generator.output_map.forward(other.apply(z))
        images.append(as_stored(samples, generator.image_shape))
    return torch.cat(images)


def without_skip(generator: ImageSource) -> LastLayer:
    """The last layer without the columns of a skip, which adds as it is in every model."""
    layer, skip = generator.last_layer, generator.split.skip
    if skip is None:
        return layer
    inputs = layer.weight.shape[1] - skip.inputs
    return dataclasses.replace(
        layer,
        weight=layer.weight[:, :inputs],
        input_shape=_with_inputs(layer, inputs),
    )


def _with_inputs(layer: LastLayer, inputs: int) -> tuple[int, ...]:
    if layer.kind == "dense":
        return (*layer.input_shape[:-1], inputs)
    return (inputs, *layer.input_shape[1:])


def self_made(generator: ImageSource, count: int, *, seed: int, track: Track = quiet) -> Tensor:
    """`count` distinct stand-ins for images of another origin, 8-bit (count, C, H, W).

    One half is drawn by other last layers, the other half retouched or moved (`impostors`): what an
    owner without a single foreign image can show a detector.  Rows and signals of numbers, which
    cannot be retouched, are all drawn.

    Deviation: the paper's negatives are real images; these are all of the model's own content.
    """
    if generator.makes_numbers:
        drawn = draw_by_other_layers(
            generator, count, seed=derive_seed(seed, "self-made"), track=track
        )
        return _distinct(drawn, count)
    half = count // 2 + 1
    drawn = draw_by_other_layers(generator, half, seed=derive_seed(seed, "self-made"), track=track)
    source = derive_seed(seed, "self-made", "base")
    base = torch.cat([x for x, _ in generator.sample_with_activations(half, source)])
    moved = make_impostors(to_float(to_uint8(base)), seed=source, moved=MOVED)
    return _distinct(torch.stack([drawn, to_uint8(moved)], dim=1).flatten(0, 1), count)


def _distinct(pool: Tensor, count: int) -> Tensor:
    keys = {digest_bytes(image.numpy().tobytes()): i for i, image in enumerate(pool)}
    if len(keys) < count:
        raise InputError(
            f"only {len(keys)} of {len(pool)} self-made images are distinct: the model hardly "
            "varies; give images that it did not make"
        )
    return pool[sorted(keys.values())[:count]]


def input_axis(layer: LastLayer) -> int:
    """The axis of the weight that counts the layer's inputs (of one group)."""
    return 0 if layer.kind == "conv_transpose" else 1
