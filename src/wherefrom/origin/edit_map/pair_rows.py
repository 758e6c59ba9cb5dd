"""Streamed pairs as rows, for latents too long for second moments.

Where moments (`moments`) are (n, n), these are (N, n) and (M, n): the closed form needs no more of
them, as long as they are no more than `LIMIT`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.store import load_artifact, save_artifact
from wherefrom.encoders.identity import EncoderIdentity
from wherefrom.origin.edit_map.moments import LIMIT, check_rows

SCHEMA = 1


class PairRows:
    """Origins, and what each edit changed, of one encoder; added in parts and merged."""

    kind: ClassVar[str] = "origin/rows"

    def __init__(self, encoder: EncoderIdentity, dimension: int) -> None:
        self.encoder, self.dimension = encoder, dimension
        self.origins = torch.zeros(0, dimension)  # (N, n) float32
        self.changes = torch.zeros(0, dimension, dtype=torch.float64)  # z - z_o, (M, n)

    @property
    def origin_count(self) -> int:
        """N."""
        return len(self.origins)

    @property
    def edit_count(self) -> int:
        """M."""
        return len(self.changes)

    def add_origins(self, origins: Tensor) -> None:
        """Keep origins (N, n), each image once however many edits it has."""
        check_rows(origins, self.dimension, "origins")
        _require_room(self.origin_count + len(origins), "origins")
        self.origins = torch.cat([self.origins, origins.float().cpu()])

    def add_edits(self, edits: Tensor, origins: Tensor) -> None:
        """Keep what edits (M, n) changed, row i made from row i of `origins` (M, n)."""
        check_rows(edits, self.dimension, "edits")
        check_rows(origins, self.dimension, "origins")
        if len(edits) != len(origins):
            raise InputError(f"{len(edits)} edits and {len(origins)} origins; give one for each")
        _require_room(self.edit_count + len(edits), "edits")
        self.changes = torch.cat([self.changes, (edits.double() - origins.double()).cpu()])

    def merge(self, other: PairRows) -> PairRows:
        """The rows of both parts.  `InputError` if they are of two encoders, or too many."""
        self.encoder.require_same(other.encoder, what="the first part of the rows")
        if self.dimension != other.dimension:
            raise InputError(
                f"rows of {self.dimension} and of {other.dimension} dimensions do not merge"
            )
        both = PairRows(self.encoder, self.dimension)
        _require_room(self.origin_count + other.origin_count, "origins")
        _require_room(self.edit_count + other.edit_count, "edits")
        both.origins = torch.cat([self.origins, other.origins])
        both.changes = torch.cat([self.changes, other.changes])
        return both

    def mean(self) -> Tensor:
        """Mean of the origins, (n,) float64."""
        if not (self.origin_count and self.edit_count):
            raise InputError(
                f"{self.origin_count} origins and {self.edit_count} edits are held; add more"
            )
        return self.origins.mean(dim=0, dtype=torch.float64)

    def columns(self, part: slice) -> tuple[Tensor, Tensor]:
        """z_o (N, c) and z - z_o (M, c), float64, of a slice of c dimensions."""
        return self.origins[:, part].double(), self.changes[:, part]

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the artifact folder `path`."""
        save_artifact(
            Path(path),
            kind=self.kind,
            schema=SCHEMA,
            meta={"encoder": self.encoder.to_dict()},
            tensors={"origins": self.origins, "changes": self.changes},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; `ArtifactError` if anything is off."""
        meta, tensors = load_artifact(Path(path), kind=cls.kind, schema=SCHEMA)
        try:
            found = cls(EncoderIdentity.from_dict(meta["encoder"]), tensors["origins"].shape[1])
            found.origins, found.changes = tensors["origins"], tensors["changes"]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtifactError(f"{path} is damaged ({error}); gather it again") from error
        return found


def _require_room(count: int, what: str) -> None:
    if count > LIMIT:
        raise InputError(
            f"{count} {what} are more than the {LIMIT} whose rows are kept; leave some out, or "
            "take an encoder with smaller latents and gather moments (PairMoments)"
        )
