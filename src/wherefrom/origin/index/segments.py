"""Segment files: unit vectors as float16, written once and memory-mapped.

    bytes 0-63     magic, format version, dimension, number of rows, SHA-256, eight zeros
    then           the rows, float16, little-endian, row by row
    then           the float64 sum of the rows, one number per dimension

A vector is brought to unit norm once, before it is rounded; every later score is an inner product
of what stands here.  The sum makes the mean score of a query over a whole segment one inner product
instead of a pass over all scores.  The digest covers every other byte of the file.

Opening checks the header and the size.  The digest is checked by `verify`, and by the index before
a process first computes with a segment: not at opening, so that listing or deleting does not read
gigabytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import struct
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wherefrom.core.errors import ArtifactError, InputError
from wherefrom.core.paths import open_descriptor, read_at
from wherefrom.core.saving.store import flush_file, flush_folder

Float16 = npt.NDArray[np.float16]

MAGIC = b"WFROMSEG"
VERSION = 1
HEADER = struct.Struct("<8sIIQ32s8x")
SUFFIX = ".segment"
SCRATCH_SUFFIX = ".part"
DIGEST_AT, NO_DIGEST = 24, bytes(32)
READ_BYTES = 2**22
SLICE_ROWS = 4096


@dataclass(frozen=True)
class SegmentInfo:
    """A segment file as the manifest names it: name, rows and digest (`sha256:<hex>`)."""

    name: str
    rows: int
    digest: str


def unit_rows(vectors: Tensor, name_of: Callable[[int], str]) -> Float16:
    """The rows of `vectors` (N, D) at unit norm, as a float16 array.

    An `InputError` with `name_of(i)` if row i has a NaN or infinite value, or is all zeros.
    """
    given = vectors.detach().cpu()
    unit = np.empty(tuple(given.shape), dtype="<f2")
    norm_of = torch.empty(len(given), dtype=torch.float64)
    for start in range(0, len(given), SLICE_ROWS):
        # float64, because the norm of large but finite float32 values overflows in float32.
        rows = given[start : start + SLICE_ROWS].double()
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        norm_of[start : start + len(rows)] = norms.squeeze(1)
        unit[start : start + len(rows)] = (rows / norms).numpy()
    refuse_unusable(norm_of, name_of)
    return unit


def refuse_unusable(norms: Tensor, name_of: Callable[[int], str]) -> None:
    """An `InputError` naming the first vector whose norm (N,) is zero, NaN or infinite."""
    bad = ~(norms.isfinite() & (norms > 0))
    if bad.any():
        first = int(bad.nonzero()[0])
        what = "is all zeros" if norms[first] == 0 else "has a NaN or infinite value"
        raise InputError(
            f"{name_of(first)}: its vector {what}, so it has no direction to compare; leave it out"
        )


def write_segment(folder: Path, chunks: Iterable[Float16], *, dim: int, rows: int) -> SegmentInfo:
    """Write `rows` unit rows, given in chunks (n, dim), as a new file of `folder`.

    When this returns, file and name are on disk.  A process killed before leaves a file that no
    manifest names.  An `InputError` if the disk does not take it.
    """
    name = secrets.token_hex(8) + SUFFIX
    scratch = folder / (name + SCRATCH_SUFFIX)
    try:
        digest = _write(scratch, chunks, HEADER.pack(MAGIC, VERSION, dim, rows, NO_DIGEST))
        scratch.rename(folder / name)
        flush_folder(folder)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            scratch.unlink()
    return SegmentInfo(name, rows, digest)


def _write(path: Path, chunks: Iterable[Float16], blank_header: bytes) -> str:
    _, _, dim, rows, _ = HEADER.unpack(blank_header)
    digest = hashlib.sha256(blank_header)
    total, written = np.zeros(dim, dtype="<f8"), 0
    with path.open("xb") as file:
        file.write(blank_header)
        for chunk in chunks:
            body = np.ascontiguousarray(chunk, dtype="<f2").tobytes()
            digest.update(body)
            file.write(body)
            total += chunk.sum(axis=0, dtype=np.float64)
            written += len(chunk)
        if written != rows:
            raise ValueError(f"{rows} rows were announced, {written} came")
        digest.update(total.tobytes())
        file.write(total.tobytes())
        file.seek(0)
        file.write(HEADER.pack(MAGIC, VERSION, dim, rows, digest.digest()))
        file.flush()
        flush_file(file.fileno())
    return f"sha256:{digest.hexdigest()}"


class SegmentFile:
    """A segment file, mapped.  What is mapped stays readable after the file is removed."""

    def __init__(self, path: Path, *, dim: int, info: SegmentInfo) -> None:
        """Map the file.

        `FileNotFoundError` if it is gone, `ArtifactError` if it cannot be read, or its header or
        size are not as announced.
        """
        self.path, self.info = path, info
        self._handle = _opened(path)
        # The handle is kept, so that a reader can verify what a compaction has since removed.
        weakref.finalize(self, os.close, self._handle)
        _refuse_header(path, read_at(self._handle, HEADER.size, 0), dim=dim, info=info)
        size = info.rows * dim * 2
        seen, expected = os.fstat(self._handle).st_size, HEADER.size + size + dim * 8
        if seen != expected:
            raise ArtifactError(_damage(path, f"it has {seen} bytes instead of {expected}"))
        with os.fdopen(os.dup(self._handle), "rb") as file:
            # Mode "c", private pages: an array that torch takes for writable, over a file that it
            # cannot change.
            mapped = np.memmap(file, dtype="<f2", mode="c", offset=HEADER.size, shape=size // 2)
        self.rows: Tensor = torch.from_numpy(np.asarray(mapped).reshape(info.rows, dim))
        total = np.frombuffer(read_at(self._handle, dim * 8, HEADER.size + size), dtype="<f8")
        self.total: Tensor = torch.from_numpy(total.astype(np.float64))
        self._checked = False
        self._copies: dict[torch.device, Tensor] = {}

    def verify(self, *, again: bool = True) -> None:
        """`ArtifactError` naming the file if a byte differs from what was written.

        With `again=False` a segment that passed before is not read again.
        """
        if self._checked and not again:
            return
        header = read_at(self._handle, HEADER.size, 0)
        digest = hashlib.sha256(header[:DIGEST_AT] + NO_DIGEST + header[DIGEST_AT + 32 :])
        place = HEADER.size
        while block := read_at(self._handle, READ_BYTES, place):
            digest.update(block)
            place += len(block)
        stored = header[DIGEST_AT : DIGEST_AT + 32]
        if digest.digest() != stored or f"sha256:{stored.hex()}" != self.info.digest:
            raise ArtifactError(_damage(self.path, "its content is not what was written"))
        self._checked = True

    def rows_on(self, device: torch.device) -> Tensor:
        """The rows (n, D) float16 on `device`; copied there once."""
        if device.type == "cpu":
            return self.rows
        if device not in self._copies:
            self._copies[device] = self.rows.to(device)
        return self._copies[device]


def _opened(path: Path) -> int:
    try:
        return open_descriptor(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ArtifactError(_damage(path, str(error.strerror))) from error
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


def _refuse_header(path: Path, header: bytes, *, dim: int, info: SegmentInfo) -> None:
    if len(header) < HEADER.size or header[:8] != MAGIC:
        raise ArtifactError(_damage(path, "it does not begin like a segment file"))
    _, version, seen_dim, rows, digest = HEADER.unpack(header)
    if version != VERSION:
        raise ArtifactError(_damage(path, f"it has format {version}, this version reads {VERSION}"))
    if (seen_dim, rows) != (dim, info.rows) or f"sha256:{digest.hex()}" != info.digest:
        raise ArtifactError(_damage(path, "its header is not the one that the manifest names"))


def _damage(path: Path, problem: str) -> str:
    return f"{path} is damaged ({problem}); restore it from a copy, or build the index again"
