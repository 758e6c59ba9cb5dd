"""Streamed pairs as rows, for latents too long for second moments.

Where moments (`moments`) are (n, n), these are (N, n) and (M, n): the closed form needs no more of
them, as long as they are no more than `LIMIT`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.encoders.identity import EncoderIdentity
from wherefrom.origin.edit_map.moments import (
    LIMIT,
    check_pairs,
    check_rows,
    require_any,
    require_mergeable,
)


@dataclass(eq=False)
class PairRows(Artifact):
    """Origins, and what each edit changed, of one encoder; added in parts and merged."""

    kind = "origin/rows"
    schema = 1
    again = "gather it again"

    encoder: EncoderIdentity
    origins: Tensor  # (N, n) float32
    changes: Tensor  # z - z_o, (M, n) float64

    @classmethod
    def empty(cls, encoder: EncoderIdentity, dimension: int) -> Self:
        """No origin and no edit yet."""
        nothing = torch.zeros(0, dimension)
        return cls(encoder, nothing, nothing.double())

    @property
    def dimension(self) -> int:
        """n, the length of an embedding."""
        return self.origins.shape[1]

    @property
    def origin_count(self) -> int:
        """N."""
        return len(self.origins)

    @property
    def edit_count(self) -> int:
        """M."""
        return len(self.changes)

    def add_origins(self, origins: Tensor) -> None:
        """Store origins (N, n), each image once however many edits it has."""
        check_rows(origins, self.dimension, "origins")
        self.origins = _joined(self.origins, origins.float().cpu(), "origins")

    def add_edits(self, edits: Tensor, origins: Tensor) -> None:
        """Store what edits (M, n) changed, row i made from row i of `origins` (M, n)."""
        check_pairs(edits, origins, self.dimension)
        self.changes = _joined(self.changes, (edits.double() - origins.double()).cpu(), "edits")

    def merge(self, other: PairRows) -> PairRows:
        """The rows of both parts.  `InputError` if they are of two encoders, or too many."""
        require_mergeable(self, other)
        return PairRows(
            self.encoder,
            _joined(self.origins, other.origins, "origins"),
            _joined(self.changes, other.changes, "edits"),
        )

    def mean(self) -> Tensor:
        """Mean of the origins, (n,) float64."""
        require_any(self)
        return self.origins.mean(dim=0, dtype=torch.float64)

    def columns(self, part: slice) -> tuple[Tensor, Tensor]:
        """z_o (N, c) and z - z_o (M, c), float64, of a slice of c dimensions."""
        return self.origins[:, part].double(), self.changes[:, part]

    def to_saved(self) -> Saved:
        """The encoder as JSON values, the rows as tensors."""
        tensors = {"origins": self.origins, "changes": self.changes}
        return Saved({"encoder": self.encoder.to_dict()}, tensors)

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The rows that `to_saved` describes."""
        encoder = EncoderIdentity.from_dict(saved.meta["encoder"])
        return cls(encoder, saved.tensors["origins"], saved.tensors["changes"])


def _joined(rows: Tensor, more: Tensor, what: str) -> Tensor:
    count = len(rows) + len(more)
    if count > LIMIT:
        raise InputError(
            f"{count} {what} are more than the {LIMIT} whose rows are kept; leave some out, or "
            "take an encoder with smaller latents and gather moments (PairMoments)"
        )
    return torch.cat([rows, more])
