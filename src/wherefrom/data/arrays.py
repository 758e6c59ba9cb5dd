"""Bounded reading of image arrays: numpy's .npz without pickles, MNIST's idx format."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError
from wherefrom.data.decoding import DEFAULT_LIMITS
from wherefrom.data.files import UnusableFile, open_regular, show_bytes

MAX_FILE_BYTES = 64 * 2**30  # what is checked is how much a file unpacks to
MAX_ARRAY_BYTES = DEFAULT_LIMITS.max_batch_bytes
IDX_IMAGES, IDX_LABELS = 0x00000803, 0x00000801


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays `images` and, if there, `labels`; pickles and bombs are an `UnusableFile`."""
    with open_regular(path, max_bytes=MAX_FILE_BYTES) as file:
        return _load_arrays(path, file)


def _load_arrays(path: Path, file: BinaryIO) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        if "images.npy" not in sizes:
            held = ", ".join(sorted(sizes)) or "nothing"
            raise UnusableFile(path, f"holds no array 'images', but {held}")
        wanted = [name for name in ("images", "labels") if f"{name}.npy" in sizes]
        total = sum(sizes[f"{name}.npy"] for name in wanted)
        if total > MAX_ARRAY_BYTES:
            raise UnusableFile(
                path, f"unpacks to {show_bytes(total)}, at most {show_bytes(MAX_ARRAY_BYTES)}"
            )
        file.seek(0)
        with np.load(file, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in wanted}
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile raise whatever hostile bytes provoke
        raise UnusableFile(path, f"is not a readable .npz: {error}") from error


def read_idx(path: Path, magic: int, axes: int) -> NDArray[np.uint8]:
    """An idx file: magic number and `axes` big-endian lengths, then uint8 values."""
    with open_regular(path, max_bytes=MAX_FILE_BYTES) as file:
        stream = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        try:
            start = stream.read(4 * (1 + axes))
            head = np.frombuffer(start[: len(start) // 4 * 4], dtype=">u4")
            if head.size != 1 + axes or head[0] != magic:
                raise UnusableFile(path, f"is not an idx file of uint8 with {axes} axes")
            shape = [int(length) for length in head[1:]]
            count = math.prod(shape)
            if count > MAX_ARRAY_BYTES:
                raise UnusableFile(path, f"declares {show_bytes(count)} of values, too many")
            data = stream.read(count + 1)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            if isinstance(error, InputError):
                raise
            raise UnusableFile(path, f"is damaged or truncated: {error}") from error
    if len(data) != count:
        found = "more" if len(data) > count else f"only {len(data)}"
        raise UnusableFile(path, f"is damaged: it declares {count} values and holds {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
