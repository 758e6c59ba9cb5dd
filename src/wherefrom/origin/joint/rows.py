"""What one row of an index holds: an autoencoder's part, and a feature network's beside it.

The autoencoder's latent, by W if there is one, keeps how a picture is laid out, as most editors
do.  A feature network keeps what it shows, which a new pose or new light does not change.  The
parts of a row have equal norms, so that the inner product with a query's row, whose parts are
weighed, is the weighed sum of both cosines: one exact scan ranks by both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.compute.passes import in_passes
from wherefrom.core.rng import stream
from wherefrom.encoders import DEFAULT_FEATURES, Encoder, FeatureNetwork, load_feature_encoder
from wherefrom.encoders.efficientnet import SCENE_KIND, load_scene_features
from wherefrom.encoders.encoder import CPU_CHUNK, DEVICE_CHUNK, prepare
from wherefrom.encoders.onnx_features import SUFFIX, load_onnx_features
from wherefrom.origin.edit_map.fitted import FittedEditMap

NO_FEATURES = "none"
PROJECT_ROWS = 64  # of every product with the signs
# Features longer than this and than half of the other part are shortened, so that an index of raw
# latents is at most half as large again.
MIN_WIDTH = 1024
# Of a deviation of the features against one of the latent.  Chosen with leave-one-editor-out on 314
# published edits: experiments/origin_real_edits.py.
WEIGHTS = {SCENE_KIND: 2.5}
WEIGHT = 0.8
PARTS = ("latent", "features")


def load_features(source: Path | str) -> FeatureNetwork | None:
    """The feature network of an index, on the CPU; None for `none`.

    `source`: `efficientnet-lite0`, an ONNX file, or as in `encoders.load_feature_encoder`.
    """
    if str(source) == NO_FEATURES:
        return None
    if str(source) == DEFAULT_FEATURES:
        return load_scene_features()
    if Path(source).suffix == SUFFIX:
        return load_onnx_features(Path(source))
    return load_feature_encoder(source)


@dataclass(frozen=True, eq=False)
class RowEncoder:
    """Makes the rows of an index of images, and those of queries."""

    encoder: Encoder
    edit_map: FittedEditMap | None = None
    features: FeatureNetwork | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """The length of each part of a row."""
        own = self.encoder.dimension if self.edit_map is None else self.edit_map.rank
        if self.features is None:
            return (own,)
        return own, min(self.features.dimension, max(own // 2, MIN_WIDTH))

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) of images (N, 3, H, W) in [0, 1]: latents, and features beside them."""
        latents = self.encoder.embed(images)
        if self.features is None:
            return latents
        return torch.cat([latents, self.describe(images)], dim=1)

    @torch.no_grad()
    def describe(self, images: Tensor) -> Tensor:
        """Features (N, F) of images (N, 3, H, W); (N, 0) where there is no network."""
        if self.features is None:
            return images.new_empty(len(images), 0)
        there = prepare(images).to(self.features.device)
        size = CPU_CHUNK if there.device.type == "cpu" else DEVICE_CHUNK
        rows: Tensor = in_passes(self.features.features, there, size=size)
        return rows.to(images.device)

    def project(self, embeddings: Tensor) -> Tensor:
        """Rows (N, sum of widths) of embeddings (N, D); 0 where a part has no direction."""
        own = embeddings if self.features is None else embeddings[:, : self.encoder.dimension]
        if self.edit_map is not None:
            own = self.edit_map.project(own)
        if self.features is None:
            return own
        parts = [own, self._shortened(embeddings[:, self.encoder.dimension :])]
        unit = [F.normalize(part.double()) for part in parts]
        whole = torch.stack([(part != 0).any(1) for part in unit]).all(0)
        return (torch.cat(unit, dim=1) * whole[:, None]).float()

    def _shortened(self, features: Tensor) -> Tensor:
        width = self.widths[1]
        if width == features.shape[1]:
            return features
        table = _signs(features.shape[1], width).to(features.device)
        rows = features.contiguous()
        shortened: Tensor = in_passes(lambda some: some @ table, rows, size=PROJECT_ROWS)
        return shortened

    @property
    def weight(self) -> float:
        """The weight of the features where none is asked for, in deviations of the latent."""
        return WEIGHT if self.features is None else WEIGHTS.get(self.features.identity.kind, WEIGHT)

    def to(self, device: torch.device | str) -> RowEncoder:
        """The same on another device; W stays where it is."""
        features = None if self.features is None else self.features.to(device)
        return replace(self, encoder=self.encoder.to(device), features=features)


def split_parts(rows: Tensor, widths: Sequence[int]) -> list[Tensor]:
    """The parts of rows (N, sum of widths), each at unit norm."""
    return [F.normalize(part.double()) for part in torch.split(rows, [*widths], dim=1)]


@functools.lru_cache(maxsize=2)
def _signs(features: int, width: int) -> Tensor:
    """(features, width) of -1 and 1: products with it keep cosines, but for 1 / sqrt(width)."""
    drawn = torch.randint(2, (features, width), generator=stream(0, "signs", features, width))
    return 2.0 * drawn - 1.0
