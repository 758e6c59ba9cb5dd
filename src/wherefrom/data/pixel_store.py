"""A growing batch of images of one size, in memory or, if it is large, in a temporary file.

A folder of 70,000 images at 256 px is 13 GiB.  Its pixels are written to a temporary file without a
name and mapped from there, so that the system can drop from memory what is not read at the moment.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import IO

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.files.opening import show_bytes

MAX_IN_MEMORY = 512 * 2**20
KEPT_FREE_BYTES = 2**30  # of the disk with the temporary folder


class PixelStore:
    """uint8 images (C, H, W) of one shape; at most `count` of them.

    An `InputError` if the disk with the temporary folder cannot hold what memory should not.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self.shape, self._count, self._added = shape, count, 0
        needed = count * int(np.prod(shape))
        self._file: IO[bytes] | None = None
        if needed > MAX_IN_MEMORY:
            self._file = _scratch(needed, f"{count} images of {shape[2]}x{shape[1]} px")
            self._memory = torch.empty((0, *shape), dtype=torch.uint8)
        else:  # memory that is not touched is not taken
            self._memory = torch.empty((count, *shape), dtype=torch.uint8)

    def add(self, pixels: Tensor) -> None:
        """Append one image."""
        if self._file is None:
            self._memory[self._added] = pixels
        else:
            try:
                self._file.write(pixels.contiguous().numpy().data)
            except OSError as error:
                raise InputError(f"cannot write {tempfile.gettempdir()}: {error}") from error
        self._added += 1

    def images(self) -> Tensor:
        """All images that were added, (N, C, H, W); the last call, after which none can be added.

        Where they are mapped from a file, writing to them changes the tensor alone.
        """
        if self._file is None:
            return (
                self._memory if self._added == self._count else self._memory[: self._added].clone()
            )
        with self._file as file:
            file.flush()
            if not self._added:
                return self._memory
            mapped = np.memmap(file, np.uint8, mode="c", shape=(self._added, *self.shape))
        return torch.from_numpy(mapped)


def _scratch(needed: int, what: str) -> IO[bytes]:
    place = tempfile.gettempdir()
    free = max(0, shutil.disk_usage(place).free - KEPT_FREE_BYTES)
    if needed > free:
        raise InputError(
            f"{what} need {show_bytes(needed)} in the temporary folder {place}, which has "
            f"{show_bytes(free)} to spare; set TMPDIR to a folder on a larger disk, or give fewer "
            "images or a smaller size"
        )
    return tempfile.TemporaryFile()
