"""The model's own content drawn by the last two layers of nobody: fitted in closed form.

A rival that was trained on the model's images, or copied from it, makes its pictures by other last
layers.  Here such layers are made in a second: a random convolution and ReLU of the activations z,
and the least-squares layer from 3x3 patches of the result to the pre-activations o of the model.

Symbols:
    z    activations before the last layer, (N, K, h, w)
    h    relu(s (A z) + b), (N, channels, h, w): A random kernels, s to unit deviation, b random
    o    pre-activations of the owner's image, (N, C, s h, s w); o' those of the new layers

Equation:  min over B of  sum over places |B patch(h) - o|^2 + RIDGE |B|^2, one B per s x s block.

Deviation: FLIPAD's negatives are real images (or one rival's) only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.attribution.images.own_images import ImageSource
from wherefrom.attribution.protocol import as_stored
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream

IMAGES_PER_LAYER = 100
MAX_VALUES = 2**24  # activations of images that share their layers: large ones share with few
# Channels of h and side of A's kernels, in turn: 15 to 33 dB from o.
SIZES = ((12, 5), (24, 3), (48, 1), (24, 5), (96, 1), (12, 3), (48, 3), (24, 1))
PLACES = 2000  # at least, that a layer is fitted on, and four for each of its inputs
RIDGE = 1e-4  # of the mean variance of the patches


def draw_by_regressed_layers(
    generator: ImageSource, count: int, *, seed: int, track: Track = quiet
) -> Tensor:
    """`count` samples of the generator's content, as stored, (count, C, H, W).

    Image i depends on (i, count, seed) only; every IMAGES_PER_LAYER images share their layers,
    fewer where they have more than MAX_VALUES activations.
    """
    images = []
    values = math.prod(generator.last_layer.input_shape)
    batch = max(1, min(IMAGES_PER_LAYER, MAX_VALUES // values))
    batches = generator.sample_with_activations(count, seed, batch=batch)
    total = generator.batch_count(count, batch)
    for index, (_, z) in enumerate(track(batches, "fitting other last layers", total=total)):
        rng = stream(seed, "redrawn layers", index)  # the path keeps every measured number
        channels, side = SIZES[index % len(SIZES)]
        o = regress(z, generator.last_layer.apply(z), channels=channels, side=side, rng=rng)
        images.append(as_stored(generator.output_map.forward(o), generator.image_shape))
    return torch.cat(images)


def regress(z: Tensor, o: Tensor, *, channels: int, side: int, rng: torch.Generator) -> Tensor:
    """o' for activations z (N, K, h, w) and pre-activations o (N, C, s h, s w), by new layers.

    Those of a dense layer, z (N, K) and o (N, D), count as one place.
    """
    if z.ndim == 2:
        places = regress(
            z[..., None, None], o[..., None, None], channels=channels, side=side, rng=rng
        )
        return places.flatten(1)
    inputs = z.shape[1]
    kernels = torch.randn(channels, inputs, side, side, generator=rng) / (inputs * side**2) ** 0.5
    h = F.conv2d(z, kernels.to(z), padding=side // 2)
    deviation = h.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    h = F.relu(h / deviation + 0.5 * torch.randn(1, channels, 1, 1, generator=rng).to(h))
    block = o.shape[-1] // h.shape[-1]
    blocks = F.pixel_unshuffle(o, block)
    few = -(-max(PLACES, 4 * 9 * channels) // blocks[0, 0].numel())
    patches = F.unfold(h[:few], 3, padding=1).transpose(1, 2).flatten(0, 1)
    patches = torch.cat([patches, patches.new_ones(len(patches), 1)], dim=1)
    wanted = blocks[:few].permute(0, 2, 3, 1).flatten(0, 2)
    normal = (patches.T @ patches).double()
    normal.diagonal().add_(RIDGE * normal.diagonal().mean())
    layer = torch.linalg.solve(normal, (patches.T @ wanted).double()).T.to(o)
    kernels = layer[:, :-1].reshape(-1, channels, 3, 3)
    return F.pixel_shuffle(F.conv2d(h, kernels, layer[:, -1].contiguous(), padding=1), block)
