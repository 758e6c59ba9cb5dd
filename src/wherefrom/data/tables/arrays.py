"""Bounded reading of arrays: numpy's .npy and .npz without pickles, safetensors, MNIST's idx."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

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


def read_values(path: Path, name: str) -> NDArray[np.float32]:
    """The one array (N, ...) of an .npy, .npz or .safetensors file, or that of this name.

    Nothing is unpickled.  An `UnusableFile` if it is unreadable, holds several arrays and none of
    that name, no numbers, no rows, or more than `MAX_ARRAY_BYTES`.
    """
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz", ".safetensors"):
        raise UnusableFile(path, f"is no .npy, .npz or .safetensors file; save the {name} as one")
    try:
        with _open_values(path, suffix) as members:
            shapes = members.shapes
            chosen = name if name in shapes else next(iter(shapes), "")
            if len(shapes) != 1 and name not in shapes:
                names = ", ".join(shapes) or "none"
                raise UnusableFile(
                    path, f"holds the arrays {names}; give one, or call one {name!r}"
                )
            size = 4 * math.prod(shapes[chosen])
            if size > MAX_ARRAY_BYTES:
                raise UnusableFile(path, f"holds {show_bytes(size)} of {name}, too many to read")
            values = members.read(chosen)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # numpy, zipfile and safetensors raise whatever hostile bytes provoke
        raise UnusableFile(path, f"is not a readable {suffix}: {error}") from error
    if values.dtype.kind not in "fiu" or values.ndim < 2 or not len(values):
        raise UnusableFile(
            path, f"holds {name} {values.dtype} of shape {values.shape}, expected numbers (N, ...)"
        )
    return np.ascontiguousarray(values, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Values:
    """The arrays of an open file: their shapes, and how to read one."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], NDArray[Any]]


@contextmanager
def _open_values(path: Path, suffix: str) -> Iterator[_Values]:
    if suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no dict
            yield _Values(shapes, lambda key: file.get_tensor(key).float().numpy())
    elif suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        yield _Values({"array": array.shape}, lambda key: array)
    else:
        with zipfile.ZipFile(path) as archive:

            def read(key: str) -> NDArray[Any]:
                with archive.open(f"{key}.npy") as file:
                    return np.lib.format.read_array(file, allow_pickle=False)

            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            yield _Values({name: _shape_in(archive, f"{name}.npy") for name in names}, read)


def _shape_in(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    """The shape that the head of an array in an .npz states."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        heads = {(1, 0): np.lib.format.read_array_header_1_0}
        read = heads.get(version, np.lib.format.read_array_header_2_0)
        shape: tuple[int, ...] = read(file)[0]
        return shape


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
