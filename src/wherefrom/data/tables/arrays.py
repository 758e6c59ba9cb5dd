"""Bounded reading of arrays: numpy's .npz without pickles, MNIST's idx format."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherefrom.core.errors import InputError
from wherefrom.data.files.archives import open_archive, open_file
from wherefrom.data.files.array_members import IMAGE_ARRAYS, ArrayMembers
from wherefrom.data.files.opening import UnusableFile, show_bytes

MAX_FILE_BYTES = 64 * 2**30  # what is checked is how much a file unpacks to
MAX_MOMENT_BYTES = 2**30
MAX_ARRAY_BYTES = 4 * 2**30  # of an idx file, which is read whole
IDX_IMAGES, IDX_LABELS = 0x00000803, 0x00000801


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """Mean (D,) and covariance (D, D) of a set of features, for a Frechet distance."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def open_arrays(path: Path) -> ArrayMembers:
    """The images of an .npz or .npy, mapped from the file; an `UnusableFile` if it has none."""
    members = open_archive(path).members
    if not isinstance(members, ArrayMembers):
        raise UnusableFile(path, "is not a readable .npz: it is no archive of arrays")
    return members


def read_moments(path: Path) -> FeatureMoments | None:
    """The arrays `mu` and `sigma` of an .npz, as FID code saves them; None without them.

    None also if the file holds the images themselves, which serve every encoder.

    An `UnusableFile` if they are of other shapes than (D,) and (D, D), or not finite.
    """
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False, mmap_mode=None) as loaded:
            if not {"mu", "sigma"} <= set(loaded.files) or set(IMAGE_ARRAYS) & set(loaded.files):
                return None
            sizes = {info.filename: info.file_size for info in loaded.zip.infolist()}
            if (size := sizes["mu.npy"] + sizes["sigma.npy"]) > MAX_MOMENT_BYTES:
                raise UnusableFile(path, f"unpacks to {show_bytes(size)} of mu and sigma, too many")
            mean, covariance = np.asarray(loaded["mu"]), np.asarray(loaded["sigma"])
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile raise whatever hostile bytes provoke
        raise UnusableFile(path, f"is not a readable .npz: {error}") from error
    mean = mean.reshape(-1)
    if mean.dtype.kind != "f" or covariance.shape != (len(mean), len(mean)) or not len(mean):
        raise UnusableFile(
            path, f"holds mu {mean.shape} and sigma {covariance.shape}, expected (D,) and (D, D)"
        )
    if covariance.dtype.kind != "f" or not (
        np.isfinite(mean).all() and np.isfinite(covariance).all()
    ):
        raise UnusableFile(path, "holds mu or sigma with NaN, infinity, or no fractions")
    return FeatureMoments(mean.astype(np.float64), covariance.astype(np.float64))


def read_idx(path: Path, magic: int, axes: int) -> NDArray[np.uint8]:
    """An idx file: magic number and `axes` big-endian lengths, then uint8 values."""
    with open_file(path, max_bytes=MAX_FILE_BYTES) as file:
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
        held = "more" if len(data) > count else f"only {len(data)}"
        raise UnusableFile(path, f"is damaged: it declares {count} values and holds {held}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
