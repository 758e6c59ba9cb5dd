"""Find copies of a picture in other files: re-encoded, resized, compressed or mirrored ones.

Two steps, because a perceptual hash alone cannot tell a copy from a gentle edit: PDQ proposes
copies (Hamming distance of 256 bits, exact, over all images), and a comparison of the two pictures
in coarse cells decides.

`copies.sqlite` holds a hash per content digest, and is a cache of the image files: an image without
a hash gets one at the next `add`.  It is written before the images are added, so that a crash
between the two leaves a hash too many and never an image without one.

Deviation: PDQ is computed from the picture at 256 x 256 px, as the encoder sees it, and not from
the full one; distances between such hashes are what PDQ's threshold is used for, but the hashes
are not interchangeable with those of other programs.
"""

from __future__ import annotations

import bisect
import sqlite3
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import database_errors, transaction
from wherefrom.origin.index.manifest import connect

NAME = "copies.sqlite"
SCHEMA = 1
MAX_BITS = 31  # PDQ's documentation: a match differs in at most so many bits
FLAT = 49  # and a hash of at most this quality (0 to 100) is to be dropped
# Of 30 photographs: at most 0.08 after JPEG at quality 30; at most 0.10 for nine in ten at a
# quarter of the size; at least 0.10 after a change within a twentieth of the picture.
MAX_DIFFERENCE = 0.08
CELLS = 32  # a side of the grid on which two pictures are compared
TABLE = "CREATE TABLE hashes (digest TEXT PRIMARY KEY, bits BLOB NOT NULL, quality INT NOT NULL)"


@dataclass(frozen=True)
class PictureHash:
    """PDQ of a picture and of its mirror image, 32 bytes each; `quality` 0 (flat) to 100."""

    bits: bytes
    mirrored: bytes
    quality: int


@dataclass(frozen=True)
class Near:
    """An image whose hash is near that of a query; `distance` in bits of 256."""

    digest: str
    distance: int
    mirrored: bool


def hash_picture(image: Tensor) -> PictureHash:
    """PDQ of a picture (3, H, W) float in [0, 1]; at 256 px a side it takes 2 ms."""
    import pdqhash  # slow to import

    pixels = image.mul(255).round().to(torch.uint8).permute(1, 2, 0)
    # PDQ can derive the mirror image's hash from the same transform, but that one is tens of bits
    # away from the hash of a picture that was mirrored.
    bits, quality = pdqhash.compute(pixels.contiguous().numpy())
    mirrored, _ = pdqhash.compute(pixels.flip(1).contiguous().numpy())
    return PictureHash(_packed(bits), _packed(mirrored), int(quality))


def difference(picture: Tensor, other: Tensor) -> float:
    """How far two pictures (3, 256, 256) are apart where they differ most, 0 to 1.

    The largest root mean square difference over colours of one of 32 x 32 cells, after each cell
    is averaged: coding noise averages out, a changed detail does not.
    """
    cells = F.adaptive_avg_pool2d(torch.stack([picture, other]).double(), CELLS)
    return float((cells[0] - cells[1]).square().mean(0).sqrt().max())


class CopyHashes:
    """The hashes of an index's folder.  Use it from the thread that opened it."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        """Open the hashes; without the file there are none, and a writer makes it."""
        self.path = folder / NAME
        self._writable = writable
        self._base: sqlite3.Connection | None = None
        self._loaded: tuple[int, list[str], npt.NDArray[np.uint64]] | None = None
        if not (writable or self.path.is_file()):
            return
        with self._errors():
            self._base = connect(self.path, mode="rwc" if writable else "rw")
            self._base.execute("PRAGMA synchronous = EXTRA")
            schema = int(self._base.execute("PRAGMA user_version").fetchone()[0])
            if schema == 0 and writable:
                self._base.executescript(f"BEGIN; {TABLE}; PRAGMA user_version = {SCHEMA}; COMMIT")
        if schema == 0 and not writable:  # its writer was killed before it had made the table
            self.close()
        elif schema not in (0, SCHEMA):
            self.close()
            raise ArtifactError(
                f"{show_path(self.path)} has the schema {schema}, this version reads {SCHEMA}; "
                "remove that file, and add the images again"
            )

    def close(self) -> None:
        """Close the file."""
        if self._base is not None:
            self._base.close()
        self._base, self._loaded = None, None

    def missing(self, digests: Sequence[str]) -> set[str]:
        """Those of the digests that have no hash."""
        if self._base is None:
            return set(digests)
        with self._errors():
            sql = "SELECT 1 FROM hashes WHERE digest = ?"
            return {d for d in digests if self._base.execute(sql, (d,)).fetchone() is None}

    def put(self, hashes: Mapping[str, PictureHash]) -> None:
        """Store hashes by digest; they are on disk when this returns."""
        rows = [(digest, each.bits, each.quality) for digest, each in hashes.items()]
        self._write("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", rows)

    def forget(self, digests: Sequence[str]) -> None:
        """Remove the hashes of these digests."""
        self._write("DELETE FROM hashes WHERE digest = ?", [(digest,) for digest in digests])

    def forget_unless_held(
        self, digests: Sequence[str], held: Callable[[Sequence[str]], Container[str]]
    ) -> None:
        """Remove the hashes of those digests that are not `held` (`Index.copies`) any more."""
        still = held(digests)
        self.forget([digest for digest in digests if digest not in still])

    def near(self, given: PictureHash) -> list[Near]:
        """All images within `MAX_BITS` of a picture or its mirror image, the nearest first.

        Exact.  Flat pictures, which all hash alike, are neither searched for nor found.
        """
        digests, table = self._table()
        if given.quality <= FLAT or not digests:
            return []
        both = np.stack([_distances(table, bits) for bits in (given.bits, given.mirrored)])
        best = both.min(0)
        matches = [
            Near(digests[i], int(best[i]), bool(both[1, i] < both[0, i]))
            for i in np.flatnonzero(best <= MAX_BITS)
        ]
        return sorted(matches, key=lambda near: (near.distance, near.mirrored, near.digest))

    def alike(self, digest: str) -> list[str]:
        """Other images whose hashes differ in at most `MAX_BITS` from that of an image."""
        digests, table = self._table()
        place = bisect.bisect_left(digests, digest)
        if place == len(digests) or digests[place] != digest:
            return []
        near = np.flatnonzero(_distances(table, table[place].tobytes()) <= MAX_BITS)
        return [digests[i] for i in near if i != place]

    def _table(self) -> tuple[list[str], npt.NDArray[np.uint64]]:
        """Digests, and bits (N, 4), of all hashes that are not flat."""
        if self._base is None:
            return [], np.zeros((0, 4), dtype=np.uint64)
        with self._errors():
            version = int(self._base.execute("PRAGMA data_version").fetchone()[0])
            if self._loaded is None or self._loaded[0] != version:
                sql = "SELECT digest, bits FROM hashes WHERE quality > ? ORDER BY digest"
                rows = self._base.execute(sql, (FLAT,)).fetchall()
                table = np.frombuffer(b"".join(bits for _, bits in rows), dtype=np.uint64)
                self._loaded = version, [digest for digest, _ in rows], table.reshape(-1, 4)
        return self._loaded[1], self._loaded[2]

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if self._base is None or not self._writable:
            raise InputError(
                f"{show_path(self.path)} was opened for reading; open it with writable=True"
            )
        if not rows:
            return
        self._loaded = None
        with self._errors(), transaction(self._base, "BEGIN IMMEDIATE") as base:
            base.executemany(sql, rows)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with database_errors(show_path(self.path), self._damage):
            try:
                yield
            except (ValueError, TypeError) as error:  # a row that no `put` wrote
                raise self._damage(str(error)) from error

    def _damage(self, problem: str) -> ArtifactError:
        return ArtifactError(
            f"{show_path(self.path)} is damaged ({problem}); remove that file, and add the images "
            "again"
        )


def _packed(bits: npt.NDArray[np.int64]) -> bytes:
    return np.packbits(bits.astype(np.uint8)).tobytes()


def _distances(table: npt.NDArray[np.uint64], bits: bytes) -> npt.NDArray[np.int64]:
    wanted = np.frombuffer(bits, dtype=np.uint64)
    distances: npt.NDArray[np.int64] = np.bitwise_count(table ^ wanted).sum(1, dtype=np.int64)
    return distances
