"""Re-rank candidates by comparing the latents of their files with those of the query.

An index holds projections, not latents: at query time the files of the candidates are decoded and
encoded again, up to 64 per query.  Their latents are cached.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.images.items import read_image
from wherefrom.data.images.writing import to_float
from wherefrom.encoders import Encoder, prepare
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.places import CHANGED, GONE, missing_now
from wherefrom.origin.index.result import IndexedImage
from wherefrom.origin.reranking.spatial import Alignment, align

DEPTH = 64
# Deviations of the cosine that an agreement of 1 is worth; less where the cosine is that of
# features, too.  Chosen on 314 published edits: experiments/origin_real_edits.py.
WEIGHT = 20.0
JOINT_WEIGHT = 3.5
HELD_BYTES = 256 * 2**20  # of latents
NO_AGREEMENT = "agrees with it by no finite number"


@dataclass(eq=False)
class Originals:
    """Latents of indexed files, by digest; the ones used last are held."""

    encoder: Encoder
    _held: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)

    def latent(self, image: IndexedImage) -> Tensor | str:
        """The latent (c, h, w) of an indexed file, or why there is none."""
        if image.digest in self._held:
            self._held.move_to_end(image.digest)
            return self._held[image.digest]
        picture = read_indexed(image)
        if isinstance(picture, str):
            return picture
        latent = self.encoder.latents(picture[None])[0]
        self._held[image.digest] = latent
        if len(self._held) * latent.numel() * latent.element_size() > HELD_BYTES:
            self._held.popitem(last=False)
        return latent


def read_indexed(image: IndexedImage) -> Tensor | str:
    """An indexed file's picture (3, 256, 256), or why it is not what was indexed."""
    try:
        read = read_image(Path(image.path), channels=3, losses=False)
    except UnusableFile as problem:
        return GONE if missing_now(image.path) == GONE else problem.reason
    if read.digest != image.digest:
        return CHANGED
    return prepare(to_float(read.pixels[None]))[0]


def rerank(
    frames: Tensor,
    ids: Sequence[int],
    index: Index,
    originals: Originals,
    *,
    weight: float = WEIGHT,
) -> tuple[Tensor, dict[int, Alignment], tuple[tuple[str, str], ...]]:
    """Added scores (K,) float64 of the candidates `ids`, their alignments, and the unread ones.

        weight (a - median a),   a the agreement of a candidate

    A candidate whose file cannot be read again, or has changed, or whose agreement is not a finite
    number, keeps its score.
    """
    added = torch.zeros(len(ids), dtype=torch.float64)
    images = index.get(ids)
    latents = [originals.latent(image) for image in images]
    readable = [i for i, latent in enumerate(latents) if isinstance(latent, Tensor)]
    alignments: dict[int, Alignment] = {}
    if readable:
        readable_alignments = align(
            frames, torch.stack([x for x in latents if isinstance(x, Tensor)])
        )
        alignments = dict(zip(readable, readable_alignments, strict=True))
    usable = {i: a for i, a in alignments.items() if math.isfinite(a.agreement)}
    unread = tuple(
        (image.path, latent if isinstance(latent, str) else NO_AGREEMENT)
        for i, (image, latent) in enumerate(zip(images, latents, strict=True))
        if i not in usable
    )
    if not usable:
        return added, {}, unread
    agreement = torch.tensor([a.agreement for a in usable.values()], dtype=torch.float64)
    added[list(usable)] = weight * (agreement - agreement.median())
    return added, {ids[i]: a for i, a in usable.items()}, unread
