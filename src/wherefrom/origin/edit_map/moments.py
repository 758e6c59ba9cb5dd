"""Streaming second moments of origins and of what edits change: all that the closed form needs.

They are sums, so they can be taken in any order, in parts, on several machines, and one pair can be
taken out again.

Symbols:
    z_o   embeddings of origins, (N, n)
    z     embeddings of edits, (M, n)
    S_t   covariance of origins, (n, n) float64
    S_d   second moment of z - z_o, not centred, (n, n) float64
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.store import load_artifact, save_artifact
from wherefrom.encoders.identity import EncoderIdentity

SCHEMA = 1
ROWS = 4096  # turned into float64 at once
LIMIT = 8192  # side of a square matrix: half a gigabyte, and minutes for its eigenvectors


class PairMoments:
    """Counts, sums and second moments of (origin, edit) pairs of one encoder."""

    kind: ClassVar[str] = "origin/moments"

    def __init__(self, encoder: EncoderIdentity, dimension: int) -> None:
        if dimension > LIMIT:
            raise InputError(
                f"moments of {dimension} dimensions would take {16 * dimension**2 / 1e9:.0f} GB; "
                "gather rows (PairRows) instead"
            )
        self.encoder, self.dimension = encoder, dimension
        self.origin_count = self.edit_count = 0
        self.origin_sum = torch.zeros(dimension, dtype=torch.float64)
        self.origin_gram = torch.zeros(dimension, dimension, dtype=torch.float64)
        self.difference_gram = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add_origins(self, origins: Tensor) -> None:
        """Count origins (N, n), each image once however many edits it has."""
        self._put_origins(origins, 1)

    def remove_origins(self, origins: Tensor) -> None:
        """Take out origins (N, n) that were added; their edits go by `remove_edits`."""
        self._put_origins(origins, -1)

    def add_edits(self, edits: Tensor, origins: Tensor) -> None:
        """Count edits (M, n), row i made from row i of `origins` (M, n)."""
        self._put_edits(edits, origins, 1)

    def remove_edits(self, edits: Tensor, origins: Tensor) -> None:
        """Take out edits (M, n) of `origins` (M, n) that were added."""
        self._put_edits(edits, origins, -1)

    def merge(self, other: PairMoments) -> PairMoments:
        """The moments of both parts together.  `InputError` if they are of two encoders."""
        self.encoder.require_same(other.encoder, what="the first part of the moments")
        if self.dimension != other.dimension:
            raise InputError(
                f"moments of {self.dimension} and of {other.dimension} dimensions do not merge"
            )
        both = PairMoments(self.encoder, self.dimension)
        both.origin_count = self.origin_count + other.origin_count
        both.edit_count = self.edit_count + other.edit_count
        both.origin_sum = self.origin_sum + other.origin_sum.to(self.origin_sum.device)
        both.origin_gram = self.origin_gram + other.origin_gram.to(self.origin_gram.device)
        other_difference = other.difference_gram.to(self.difference_gram.device)
        both.difference_gram = self.difference_gram + other_difference
        return both

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

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the artifact folder `path`."""
        names = ("origin_sum", "origin_gram", "difference_gram")
        save_artifact(
            Path(path),
            kind=self.kind,
            schema=SCHEMA,
            meta={
                "encoder": self.encoder.to_dict(),
                "origins": self.origin_count,
                "edits": self.edit_count,
            },
            tensors={name: getattr(self, name) for name in names},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; `ArtifactError` if anything is off."""
        meta, tensors = load_artifact(Path(path), kind=cls.kind, schema=SCHEMA)
        try:
            found = cls(EncoderIdentity.from_dict(meta["encoder"]), len(tensors["origin_sum"]))
            found.origin_count, found.edit_count = int(meta["origins"]), int(meta["edits"])
            for name in ("origin_sum", "origin_gram", "difference_gram"):
                getattr(found, name).copy_(tensors[name])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{path} is damaged ({error}); fit it again") from error
        return found

    def _put_origins(self, origins: Tensor, sign: int) -> None:
        check_rows(origins, self.dimension, "origins")
        count = self.origin_count + sign * len(origins)
        if count < 0:
            raise InputError(f"{len(origins)} origins to remove, but {self.origin_count} are held")
        self._move_to(origins.device)
        for part in torch.split(origins, ROWS):
            rows = part.double()
            self.origin_sum.add_(rows.sum(dim=0), alpha=sign)
            self.origin_gram.addmm_(rows.T, rows, alpha=sign)
        self.origin_count = count
        if not count:  # what rounding left
            self.origin_sum.zero_()
            self.origin_gram.zero_()

    def _put_edits(self, edits: Tensor, origins: Tensor, sign: int) -> None:
        check_rows(edits, self.dimension, "edits")
        check_rows(origins, self.dimension, "origins")
        if len(edits) != len(origins):
            raise InputError(f"{len(edits)} edits and {len(origins)} origins; give one for each")
        count = self.edit_count + sign * len(edits)
        if count < 0:
            raise InputError(f"{len(edits)} edits to remove, but {self.edit_count} are held")
        self._move_to(edits.device)
        for part, source in zip(torch.split(edits, ROWS), torch.split(origins, ROWS), strict=True):
            rows = part.double() - source.double()
            self.difference_gram.addmm_(rows.T, rows, alpha=sign)
        self.edit_count = count
        if not count:
            self.difference_gram.zero_()

    def _move_to(self, device: torch.device) -> None:
        for name in ("origin_sum", "origin_gram", "difference_gram"):
            setattr(self, name, getattr(self, name).to(device))

    def _require_any(self) -> None:
        if not (self.origin_count and self.edit_count):
            raise InputError(
                f"{self.origin_count} origins and {self.edit_count} edits are held; add more"
            )


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
