"""Embedded pairs: what an edit map is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.files.opening import SkippedFile
from wherefrom.encoders.encoder import EncoderIdentity


@dataclass(frozen=True, eq=False)
class EmbeddedPairs:
    """Embeddings of origins and of their edits, by one encoder.

    Origins without an edit are welcome: the closed form learns from them what origins are like.
    `latent_shape` is the (c, h, w) of the encoder's latents, c h w = n, where it is known.
    `seen`, the `core.contents` of the images, lets a calibration refuse these images.

    An `InputError` for embeddings that are not finite or do not fit each other.
    """

    origins: Tensor  # (N, n)
    edits: Tensor  # (M, n)
    owner: Tensor  # (M,) int64, the row of each edit's origin
    encoder: EncoderIdentity
    latent_shape: tuple[int, int, int] | None = None
    seen: Tensor | None = None  # int64, sorted
    skipped: tuple[SkippedFile, ...] = ()  # files without an embedding, and why

    def __post_init__(self) -> None:
        origins, edits, owner = self.origins, self.edits, self.owner
        for what, rows in (("origins", origins), ("edits", edits)):
            if rows.ndim != 2 or not len(rows) or not rows.is_floating_point():
                raise InputError(
                    f"{what} of shape {tuple(rows.shape)} and {rows.dtype}, expected "
                    "floating-point embeddings (N, n), at least one"
                )
            if not bool(torch.isfinite(rows).all()):
                raise InputError(f"the {what} hold NaN or infinite values; leave those images out")
        if origins.shape[1] != edits.shape[1]:
            raise InputError(
                f"origins have {origins.shape[1]} dimensions and edits {edits.shape[1]}; embed "
                "both with one encoder"
            )
        if owner.shape != (len(edits),) or owner.dtype != torch.int64:
            raise InputError(
                f"owner has shape {tuple(owner.shape)} and {owner.dtype}, expected int64 "
                f"({len(edits)},): the row of one origin per edit"
            )
        if int(owner.min()) < 0 or int(owner.max()) >= len(origins):
            raise InputError(f"owner names rows outside 0 .. {len(origins) - 1} of the origins")
        if self.edited_origins < 2:
            raise InputError(
                "all edits are of one origin; a map needs edits of at least two origins"
            )

    @property
    def edited_origins(self) -> int:
        """How many origins have an edit."""
        return int((torch.bincount(self.owner) > 0).sum())
