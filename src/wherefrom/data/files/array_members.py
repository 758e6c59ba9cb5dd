"""The images in a numpy file, presented as the files of an archive.

Evaluation code saves batches of samples so.  The array is mapped, not loaded: the pixels of an
image are read when its bytes are asked for, and returned as an uncompressed picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wherefrom.data.files.members import MAX_UNPACKED_BYTES, ReadAt, ZipMembers
from wherefrom.data.files.opening import SkippedFile, UnusableFile, show_bytes

IMAGE_ARRAYS = ("images", "arr_0", "samples", "x", "data")
LABEL_ARRAYS = ("labels", "arr_1", "y")
MOMENT_ARRAYS = ("mu", "sigma")
NPY_MARK = b"\x93NUMPY"
MAX_HEADER = 2**14
_END = ".npy"


class ArrayMembers:
    """The images of an .npz or .npy, named by the array and their place in it.

    `images` is uint8 (N, H, W, C) with C = 1, 3 or 4, mapped from the file; `labels` int (N,) where
    the file has them.
    """

    def __init__(self, path: Path, file: ReadAt, packed: ZipMembers | None) -> None:
        self._path, self._file, self._packed = path, file, packed
        arrays = dict(self._shapes())
        self.key = self._choose(arrays)
        self.images = _channels_last(path, self._array(self.key))
        self.labels = self._labels(arrays)
        suffix = "png" if self.images.shape[3] == 4 else "ppm"
        width = max(6, len(str(len(self.images) - 1)))
        folder = f"{self.key}/" if packed is not None else ""
        self._places = {
            f"{folder}{place:0{width}d}.{suffix}": place for place in range(len(self.images))
        }
        self.names = tuple(self._places)
        others = [name for name in arrays if name not in (self.key, *LABEL_ARRAYS)]
        self.left_out = tuple(
            SkippedFile(Path(name), "is another array than the images") for name in others
        )

    def read(self, name: str, shown: Path, max_bytes: int) -> bytes:
        """One image as an uncompressed picture."""
        pixels = np.array(self.images[self._places[name]])
        if pixels.nbytes > max_bytes:
            raise UnusableFile(shown, f"is too large: {show_bytes(pixels.nbytes)}")
        return picture_of(pixels)

    def start(self, name: str, size: int) -> bytes:
        """The first `size` bytes of one image as a picture."""
        return self.read(name, self._path / name, MAX_UNPACKED_BYTES)[:size]

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Every array that numbers fill, and its shape, read from its header alone."""
        if self._packed is None:
            yield self._path.stem, _header(cast(BinaryIO, self._file))[0]
            return
        for name in self._packed.names:
            if name.endswith(_END):
                head = self._packed.start(name, MAX_HEADER)
                yield name.removesuffix(_END), _header(io.BytesIO(head))[0]

    def _choose(self, arrays: dict[str, tuple[int, ...]]) -> str:
        known = [name for name in IMAGE_ARRAYS if name in arrays]
        like = [name for name, shape in arrays.items() if _is_like_images(shape)]
        if known or len(like) == 1:
            return (known or like)[0]
        held = ", ".join(f"{name} {shape}" for name, shape in sorted(arrays.items())) or "nothing"
        if set(MOMENT_ARRAYS) <= set(arrays):
            raise UnusableFile(
                self._path,
                "holds mu and sigma, statistics for a Frechet distance, and no images; expected "
                "uint8 (N, H, W, 3)",
            )
        raise UnusableFile(
            self._path, f"holds no array 'images' or 'arr_0' of uint8 (N, H, W, 3), but {held}"
        )

    def _labels(self, arrays: dict[str, tuple[int, ...]]) -> NDArray[Any] | None:
        name = next((name for name in LABEL_ARRAYS if name in arrays), None)
        return None if name is None else np.array(self._array(name))

    def _array(self, key: str) -> NDArray[Any]:
        if self._packed is None:
            return _mapped(self._path, cast(BinaryIO, self._file), 0)
        name = key + _END
        size = self._packed.size_of(name)
        if size > MAX_UNPACKED_BYTES:
            allowed = show_bytes(MAX_UNPACKED_BYTES)
            raise UnusableFile(self._path, f"unpacks to {show_bytes(size)}, at most {allowed}")
        start = self._packed.stored_at(name, self._file)
        if start is not None:
            return _mapped(self._path, cast(BinaryIO, self._file), start)
        with self._packed.unpack(name) as scratch:
            return _mapped(self._path, scratch, 0)


def picture_of(pixels: NDArray[Any]) -> bytes:
    """uint8 (H, W, C) with C = 1, 3 or 4 as the bytes of an uncompressed PNM or PNG."""
    if pixels.shape[2] == 4:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, format="PNG", compress_level=0)
        return out.getvalue()
    height, width, bands = pixels.shape
    head = f"{'P5' if bands == 1 else 'P6'}\n{width} {height}\n255\n".encode()
    return head + pixels.tobytes()


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"an array of format {version}")
    shape, fortran, dtype = read(file)
    return tuple(shape), bool(fortran), dtype


def _mapped(path: Path, file: BinaryIO, start: int) -> NDArray[Any]:
    """The array whose .npy begins at `start`, its values left on disk."""
    file.seek(start)
    shape, fortran, dtype = _header(file)
    if dtype.hasobject:
        raise UnusableFile(path, "holds Python objects (a pickle), which are not read")
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    order = "F" if fortran else "C"
    return np.memmap(file, dtype, mode="r", offset=file.tell(), shape=shape, order=order)  # type: ignore[call-overload, no-any-return]


def _is_like_images(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and (shape[3] in (1, 3, 4) or shape[1] in (1, 3))


def _channels_last(path: Path, images: NDArray[Any]) -> NDArray[Any]:
    if images.ndim == 3 and images.dtype == np.uint8:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in (1, 3, 4) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise UnusableFile(
            path,
            f"holds images of {images.dtype} {images.shape}, expected uint8 (N, H, W, 3); scale "
            "values to 0 to 255 and save them as uint8",
        )
    if not images.size:
        raise UnusableFile(path, f"holds no image: its shape is {images.shape}")
    return images
