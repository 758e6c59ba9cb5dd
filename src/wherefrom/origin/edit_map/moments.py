"""Streaming second moments of origins and of what edits change: all that the closed form needs.

They are sums, so they can be taken in any order, in parts and on several machines.

Symbols:
    z_o   embeddings of origins, (N, n)
    z     embeddings of edits, (M, n)
    S_t   covariance of origins, (n, n) float64
    S_d   second moment of z - z_o, not centred, (n, n) float64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.encoders.identity import EncoderIdentity

SUMS = ("origin_sum", "origin_gram", "difference_gram")
ROWS = 4096  # turned into float64 at once
LIMIT = 8192  # side of a square matrix: half a gigabyte, and minutes for its eigenvectors


@dataclass(eq=False)
class PairMoments(Artifact):
    """Counts, sums and second moments of (origin, edit) pairs of one encoder."""

    kind = "origin/moments"
    schema = 1
    again = "gather it again"

    encoder: EncoderIdentity
    origin_sum: Tensor  # (n,) float64
    origin_gram: Tensor  # (n, n) float64
    difference_gram: Tensor  # (n, n) float64
    origin_count: int = 0
    edit_count: int = 0

    @classmethod
    def empty(cls, encoder: EncoderIdentity, dimension: int) -> Self:
        """Moments of no pair; an `InputError` if n is above `LIMIT`."""
        if dimension > LIMIT:
            raise InputError(
                f"moments of {dimension} dimensions would take {16 * dimension**2 / 1e9:.0f} GB; "
                "gather rows (PairRows) instead"
            )
        total, gram, difference = (
            torch.zeros(shape, dtype=torch.float64)
            for shape in ((dimension,), (dimension, dimension), (dimension, dimension))
        )
        return cls(encoder, total, gram, difference)

    @property
    def dimension(self) -> int:
        """n, the length of an embedding."""
        return len(self.origin_sum)

    def add_origins(self, origins: Tensor) -> None:
        """Count origins (N, n), each image once however many edits it has."""
        check_rows(origins, self.dimension, "origins")
        self._move_to(origins.device)
        for part in torch.split(origins, ROWS):
            rows = part.double()
            self.origin_sum += rows.sum(dim=0)
            self.origin_gram.addmm_(rows.T, rows)
        self.origin_count += len(origins)

    def add_edits(self, edits: Tensor, origins: Tensor) -> None:
        """Count edits (M, n), row i made from row i of `origins` (M, n)."""
        check_pairs(edits, origins, self.dimension)
        self._move_to(edits.device)
        for part, source in zip(torch.split(edits, ROWS), torch.split(origins, ROWS), strict=True):
            rows = part.double() - source.double()
            self.difference_gram.addmm_(rows.T, rows)
        self.edit_count += len(edits)

    def merge(self, other: PairMoments) -> PairMoments:
        """The moments of both parts together.  `InputError` if they are of two encoders."""
        require_mergeable(self, other)
        device = self.origin_sum.device
        return PairMoments(
            self.encoder,
            self.origin_sum + other.origin_sum.to(device),
            self.origin_gram + other.origin_gram.to(device),
            self.difference_gram + other.difference_gram.to(device),
            self.origin_count + other.origin_count,
            self.edit_count + other.edit_count,
        )

    def mean(self) -> Tensor:
        """Mean of the origins, (n,) float64."""
        require_any(self)
        return self.origin_sum / self.origin_count

    def total(self) -> Tensor:
        """S_t = E[z_o z_o^T] - E[z_o] E[z_o]^T, (n, n) float64."""
        mean = self.mean()
        return self.origin_gram / self.origin_count - torch.outer(mean, mean)

    def difference(self) -> Tensor:
        """S_d = E[(z - z_o) (z - z_o)^T], (n, n) float64."""
        require_any(self)
        return self.difference_gram / self.edit_count

    def to_saved(self) -> Saved:
        """Encoder and counts as JSON values, the sums as tensors."""
        counts = {"origins": self.origin_count, "edits": self.edit_count}
        return Saved(
            {"encoder": self.encoder.to_dict(), **counts},
            {name: getattr(self, name) for name in SUMS},
        )

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        """The moments that `to_saved` describes."""
        return cls(
            encoder=EncoderIdentity.from_dict(saved.meta["encoder"]),
            **{name: saved.tensors[name] for name in SUMS},
            origin_count=int(saved.meta["origins"]),
            edit_count=int(saved.meta["edits"]),
        )

    def _move_to(self, device: torch.device) -> None:
        for name in SUMS:
            setattr(self, name, getattr(self, name).to(device))


class Gathered(Protocol):
    """What moments and rows of pairs have in common."""

    encoder: EncoderIdentity

    @property
    def dimension(self) -> int: ...
    @property
    def origin_count(self) -> int: ...
    @property
    def edit_count(self) -> int: ...


def require_mergeable(first: Gathered, second: Gathered) -> None:
    """An `InputError` if the parts are of two encoders or dimensions."""
    first.encoder.require_same(second.encoder, what="the first part of the pairs")
    if first.dimension != second.dimension:
        raise InputError(
            f"pairs of {first.dimension} and of {second.dimension} dimensions do not merge; "
            "embed both parts with one encoder"
        )


def require_any(pairs: Gathered) -> None:
    """An `InputError` if there is no origin or no edit."""
    if not (pairs.origin_count and pairs.edit_count):
        raise InputError(
            f"{pairs.origin_count} origins and {pairs.edit_count} edits are held; add more"
        )


def check_pairs(edits: Tensor, origins: Tensor, dimension: int) -> None:
    """An `InputError` unless both are embeddings (M, dimension), with one M."""
    check_rows(edits, dimension, "edits")
    check_rows(origins, dimension, "origins")
    if len(edits) != len(origins):
        raise InputError(f"{len(edits)} edits and {len(origins)} origins; give one for each")


def check_rows(rows: Tensor, dimension: int, what: str) -> None:
    """An `InputError` unless rows are finite floating-point embeddings (N, dimension)."""
    if rows.ndim != 2 or rows.shape[1] != dimension or not rows.is_floating_point():
        raise InputError(
            f"{what} of shape {tuple(rows.shape)} and {rows.dtype}, expected floating-point "
            f"(N, {dimension})"
        )
    bad = (~torch.isfinite(rows).all(dim=1)).nonzero()
    if len(bad):
        raise InputError(f"row {int(bad[0])} of the {what} holds NaN or infinity; leave it out")
