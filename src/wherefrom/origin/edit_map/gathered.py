"""Pairs gathered in parts: as second moments, or as rows where latents are too long for those.

Both hold all that the closed form needs, and can be added in any order, in parts and on several
machines.  Moments are (n, n), rows (N, n) and (M, n).

Symbols:
    z_o   embeddings of origins, (N, n)
    z     embeddings of edits, (M, n)
    S_t   covariance of origins, (n, n) float64
    S_d   second moment of z - z_o, not centred, (n, n) float64
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.saving.artifact import Artifact, Saved
from wherefrom.encoders.encoder import EncoderIdentity

SUMS = ("origin_sum", "origin_gram", "difference_gram")
ROWS = 4096  # turned into float64 at once
LIMIT = 8192  # side of a square matrix: half a gigabyte, and minutes for its eigenvectors


class GatheredPairs(Artifact):
    """Origins and edits of one encoder, added in parts."""

    again = "gather it again"

    encoder: EncoderIdentity

    @property
    @abstractmethod
    def dimension(self) -> int:
        """n, the length of an embedding."""

    @property
    @abstractmethod
    def origin_count(self) -> int:
        """N."""

    @property
    @abstractmethod
    def edit_count(self) -> int:
        """M."""

    @abstractmethod
    def _gather_origins(self, origins: Tensor) -> None: ...

    @abstractmethod
    def _gather_edits(self, edits: Tensor, origins: Tensor) -> None: ...

    def add_origins(self, origins: Tensor) -> None:
        """Add origins (N, n), each image once however many edits it has."""
        self._check(origins, "origins")
        self._gather_origins(origins)

    def add_edits(self, edits: Tensor, origins: Tensor) -> None:
        """Add edits (M, n), row i made from row i of `origins` (M, n)."""
        self._check(edits, "edits")
        self._check(origins, "origins")
        if len(edits) != len(origins):
            raise InputError(f"{len(edits)} edits and {len(origins)} origins; give one for each")
        self._gather_edits(edits, origins)

    def _check(self, rows: Tensor, what: str) -> None:
        """An `InputError` unless rows are finite floating-point embeddings (N, n)."""
        if rows.ndim != 2 or rows.shape[1] != self.dimension or not rows.is_floating_point():
            raise InputError(
                f"{what} of shape {tuple(rows.shape)} and {rows.dtype}, expected floating-point "
                f"(N, {self.dimension})"
            )
        bad = (~torch.isfinite(rows).all(dim=1)).nonzero()
        if len(bad):
            raise InputError(f"row {int(bad[0])} of the {what} holds NaN or infinity; leave it out")

    def _require_mergeable(self, other: GatheredPairs) -> None:
        """An `InputError` if the parts are of two encoders or dimensions."""
        self.encoder.require_same(other.encoder, what="the first part of the pairs")
        if self.dimension != other.dimension:
            raise InputError(
                f"pairs of {self.dimension} and of {other.dimension} dimensions do not merge; "
                "embed both parts with one encoder"
            )

    def _require_any(self) -> None:
        """An `InputError` if there is no origin or no edit."""
        if not (self.origin_count and self.edit_count):
            raise InputError(
                f"{self.origin_count} origins and {self.edit_count} edits are held; add more"
            )


@dataclass(eq=False)
class PairMoments(GatheredPairs):
    """Counts, sums and second moments of (origin, edit) pairs of one encoder."""

    kind = "origin/moments"
    schema = 1

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
        return len(self.origin_sum)

    def _gather_origins(self, origins: Tensor) -> None:
        self._move_to(origins.device)
        for part in torch.split(origins, ROWS):
            rows = part.double()
            self.origin_sum += rows.sum(dim=0)
            self.origin_gram.addmm_(rows.T, rows)
        self.origin_count += len(origins)

    def _gather_edits(self, edits: Tensor, origins: Tensor) -> None:
        self._move_to(edits.device)
        for part, source in zip(torch.split(edits, ROWS), torch.split(origins, ROWS), strict=True):
            rows = part.double() - source.double()
            self.difference_gram.addmm_(rows.T, rows)
        self.edit_count += len(edits)

    def merge(self, other: PairMoments) -> PairMoments:
        """The moments of both parts together.  `InputError` if they are of two encoders."""
        self._require_mergeable(other)
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
        self._require_any()
        return self.origin_sum / self.origin_count

    def total(self) -> Tensor:
        """S_t = E[z_o z_o^T] - E[z_o] E[z_o]^T, (n, n) float64."""
        mean = self.mean()
        return self.origin_gram / self.origin_count - torch.outer(mean, mean)

    def difference(self) -> Tensor:
        """S_d = E[(z - z_o) (z - z_o)^T], (n, n) float64."""
        self._require_any()
        return self.difference_gram / self.edit_count

    def to_saved(self) -> Saved:
        counts = {"origins": self.origin_count, "edits": self.edit_count}
        return Saved(
            {"encoder": self.encoder.to_dict(), **counts},
            {name: getattr(self, name) for name in SUMS},
        )

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
        return cls(
            encoder=EncoderIdentity.from_dict(saved.meta["encoder"]),
            **{name: saved.tensors[name] for name in SUMS},
            origin_count=int(saved.meta["origins"]),
            edit_count=int(saved.meta["edits"]),
        )

    def _move_to(self, device: torch.device) -> None:
        for name in SUMS:
            setattr(self, name, getattr(self, name).to(device))


@dataclass(eq=False)
class PairRows(GatheredPairs):
    """Origins, and what each edit changed, of one encoder: at most `LIMIT` of both."""

    kind = "origin/rows"
    schema = 1

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
        return self.origins.shape[1]

    @property
    def origin_count(self) -> int:
        return len(self.origins)

    @property
    def edit_count(self) -> int:
        return len(self.changes)

    def _gather_origins(self, origins: Tensor) -> None:
        self.origins = _joined(self.origins, origins.float().cpu(), "origins")

    def _gather_edits(self, edits: Tensor, origins: Tensor) -> None:
        self.changes = _joined(self.changes, (edits.double() - origins.double()).cpu(), "edits")

    def merge(self, other: PairRows) -> PairRows:
        """The rows of both parts.  `InputError` if they are of two encoders, or too many."""
        self._require_mergeable(other)
        return PairRows(
            self.encoder,
            _joined(self.origins, other.origins, "origins"),
            _joined(self.changes, other.changes, "edits"),
        )

    def mean(self) -> Tensor:
        """Mean of the origins, (n,) float64."""
        self._require_any()
        return self.origins.mean(dim=0, dtype=torch.float64)

    def columns(self, part: slice) -> tuple[Tensor, Tensor]:
        """z_o (N, c) and z - z_o (M, c), float64, of a slice of c dimensions."""
        return self.origins[:, part].double(), self.changes[:, part]

    def to_saved(self) -> Saved:
        tensors = {"origins": self.origins, "changes": self.changes}
        return Saved({"encoder": self.encoder.to_dict()}, tensors)

    @classmethod
    def from_saved(cls, saved: Saved) -> Self:
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
