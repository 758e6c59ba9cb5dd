"""The twelve foreign sets of the out-of-distribution table of MNIST: ten corruptions, two others.

Section 4.3.1 of the thesis: corrupted MNIST, Fashion-MNIST and Kuzushiji-MNIST, all 28 px, padded
by 2 black pixels to 32.  The corruptions are computed here, or read from the published set where
there is a copy; the others are read from an idx file, an .npz, a .tar or a folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.data.altering.mnist_corruptions import MNIST_CORRUPTIONS, UNIT, mnist_corrupt
from wherefrom.data.datasets import load_training_images
from wherefrom.data.files.archives import open_file
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.images.writing import to_float
from wherefrom.data.tables.arrays import MAX_FILE_BYTES

BORDER = 2


@dataclass(frozen=True, eq=False)
class OutSet:
    """One foreign set.

    `images` float32 (N, 1, 32, 32) in [0, 1]; row i is mixed with own image i.  `paired`: row i
    is own image i, corrupted.  `origin` says where the images come from.
    """

    name: str
    images: Tensor
    paired: bool
    origin: str


def mnist_out_sets(
    originals: Tensor,
    rows: Sequence[int],
    *,
    foreign: Mapping[str, Path],
    published: Path | None = None,
    seed: int = 0,
) -> Iterator[OutSet]:
    """The ten corruptions of uint8 (N, 1, 28, 28) `originals`, then each of `foreign`.

    `rows` are the places of the originals in MNIST's test set: they name the random streams, pick
    the rows of the `published` MNIST-C (a folder of <corruption>/test_images.npy), and the images
    of the same index of each foreign set.  One set is made at a time.
    """
    if originals.shape[1:] != (1, UNIT, UNIT) or len(originals) != len(rows):
        raise InputError(
            f"the originals are {tuple(originals.shape)} with {len(rows)} indices; "
            f"expected (N, 1, {UNIT}, {UNIT}) and an index each"
        )
    own, keys = to_float(originals), [str(row) for row in rows]
    for kind in MNIST_CORRUPTIONS:
        if published is None:
            far, origin = mnist_corrupt(own, kind, keys=keys, seed=seed), "made anew from its text"
        else:
            far, origin = to_float(_published(published, kind, rows)), "the published MNIST-C"
        yield OutSet(kind, padded(far), True, origin)
    for name, path in foreign.items():
        yield OutSet(name, padded(to_float(foreign_images(path, rows))), False, Path(path).name)


def foreign_images(path: Path, rows: Sequence[int]) -> Tensor:
    """Grey images of a data set at 28 px, uint8 (N, 1, 28, 28), those at `rows`.

    Indices beyond the end start again from the front, so that a smaller set can serve too.
    """
    images = load_training_images(Path(path), size=UNIT, channels=1).images
    return images[torch.as_tensor(rows) % len(images)]


def read_mnist_c(folder: Path, kind: str) -> Tensor:
    """uint8 (N, 1, 28, 28) of one corruption of the published MNIST-C, in MNIST's test order."""
    path = folder / kind / "test_images.npy"
    with open_file(path, max_bytes=MAX_FILE_BYTES) as file:
        try:
            array: Any = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UnusableFile(path, f"is not a readable .npy: {error}") from error
    if array.dtype != np.uint8 or array.shape[1:] not in ((UNIT, UNIT, 1), (UNIT, UNIT)):
        raise UnusableFile(
            path, f"holds {array.dtype} {array.shape}, expected uint8 (N, {UNIT}, {UNIT}, 1)"
        )
    return torch.from_numpy(array.reshape(-1, 1, UNIT, UNIT))


def padded(images: Tensor) -> Tensor:
    """28 px become 32 by a black border, as in Section 4.3.1."""
    return F.pad(images, (BORDER, BORDER, BORDER, BORDER))


def _published(folder: Path, kind: str, rows: Sequence[int]) -> Tensor:
    images = read_mnist_c(Path(folder), kind)
    if max(rows, default=0) >= len(images):
        raise InputError(
            f"index {max(rows)} is asked for, but {kind} in {folder} has {len(images)} images; "
            "give indices of MNIST's test set"
        )
    return images[torch.as_tensor(rows)]
