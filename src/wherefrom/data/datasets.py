"""Loading data sets to train on: a folder, an archive, an .npz, or MNIST's idx files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import digest_tensors
from wherefrom.data.batches import BatchOptions, PixelStore, read_files
from wherefrom.data.files.array_members import picture_of
from wherefrom.data.files.listing import holds_images
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.data.images.items import crop_and_resize, decode_image, with_channels
from wherefrom.data.splits import spread_indices
from wherefrom.data.tables.annotations import ClassLabels, labels_beside
from wherefrom.data.tables.arrays import IDX_IMAGES, IDX_LABELS, open_arrays, read_idx

MAX_SIDE = 1024
_IDX_NAME = re.compile(r"^(.*)images([-.])idx3-ubyte(\.gz)?$")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """A data set to train on.

    `images` is uint8 (N, C, S, S); `labels` is int64 (N,) where the source tells classes apart;
    `digest` covers the pixels in their order.  `class_names`: of the classes by number; () where
    the source has numbers only.
    """

    images: Tensor
    digest: str
    labels: Tensor | None
    description: str
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The items of a data set to load: those in `span`, of these at most `limit`, evenly spread."""

    limit: int | None = None
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the limit is {self.limit}; give 1 or more")
        if self.span is not None and not 0 <= self.span[0] < self.span[1]:
            raise InputError(f"the span is {self.span[0]}:{self.span[1]}; give start:stop, 0 first")

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The selected items, in their order."""
        if self.span is not None:
            if self.span[0] >= len(items):
                raise InputError(f"the span starts at {self.span[0]}, the source has {len(items)}")
            items = items[slice(*self.span)]
        if self.limit is None:
            return items
        return [items[row] for row in spread_indices(len(items), self.limit)]


def load_training_images(
    path: Path,
    *,
    size: int,
    channels: int,
    limit: int | None = None,
    span: tuple[int, int] | None = None,
    track: Track = quiet,
) -> TrainingImages:
    """Load the data set at `path` as square images of `size` px, centre-cropped and scaled.

    `path` is a folder of images, an archive of images (`data.files.archives`), an `.npz` with
    `images` or `arr_0` uint8 (N, H, W, 3), or an idx file such as `train-images-idx3-ubyte.gz`, of
    which 28 px become 32 by a black border.  Labels are those beside the images
    (`data.tables.annotations`).  `span` = (start, stop) takes images start to stop - 1 in the order
    of the source, and leaves the rest for tests.  `limit` takes that many, spread evenly, since
    archives are often sorted by class.  Anything else, or a damaged file, is an `InputError`.
    """
    path = Path(path)
    if not 1 <= size <= MAX_SIDE:
        raise InputError(f"the image size is {size}; choose 1 to {MAX_SIDE} px")
    if channels not in (1, 3):
        raise InputError(f"channels is {channels}; choose 1 (grey) or 3 (colour)")
    request = _Request(path, size, channels, Selection(limit, span), track)
    images, labels, remark = _reader(path)(request)
    count = images.shape[0]
    text = f"{path.name}: {count} images of {size}x{size} px, {channels} channels{remark}"
    digest = digest_tensors({"images": images})
    return TrainingImages(images, digest, labels.values, text, labels.names)


@dataclass(frozen=True)
class _Request:
    """The arguments of `load_training_images`."""

    path: Path
    size: int
    channels: int
    selection: Selection
    track: Track


_Loaded = tuple[Tensor, ClassLabels, str]
_Reader = Callable[[_Request], _Loaded]


def _reader(path: Path) -> _Reader:
    if _IDX_NAME.match(path.name):
        return _from_idx
    if path.suffix.lower() in (".npz", ".npy") and path.is_file():
        return _from_arrays
    if path.is_dir() or holds_images(path):
        return _from_files
    if not path.exists():
        raise UnusableFile(path, "there is no such file or folder")
    raise UnusableFile(
        path,
        "is not a data set; expected a folder of images, a .zip, a .tar, an .npz, or "
        "*images-idx3-ubyte.gz",
    )


def _from_files(request: _Request) -> _Loaded:
    path, side = request.path, request.size
    files = request.selection.of(list_images([path]))  # chosen before any is read
    where = show_path(path) + ("/" if path.is_dir() else "")
    options = BatchOptions(request.channels, (side, side), resize=True, losses=False)
    batch = read_files(files, where, options, track=request.track)
    labels = labels_beside(batch.paths, path)
    remarks = [f"{len(batch.skipped)} skipped"] if batch.skipped else []
    remarks += [f"labels from {labels.source}"] if labels.source else []
    return batch.images, labels, f" ({', '.join(remarks)})" if remarks else ""


def _from_arrays(request: _Request) -> _Loaded:
    arrays = open_arrays(request.path)
    return _shaped(request, arrays.images.transpose(0, 3, 1, 2), arrays.labels)


def _from_idx(request: _Request) -> _Loaded:
    path = request.path
    images = read_idx(path, IDX_IMAGES, 3)
    match = cast(re.Match[str], _IDX_NAME.match(path.name))
    beside = path.with_name(f"{match[1]}labels{match[2]}idx1-ubyte{match[3] or ''}")
    labels = read_idx(beside, IDX_LABELS, 1) if beside.exists() else None
    if request.size == 32 and images.shape[1:] == (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return _shaped(request, images[:, None], labels)


def _shaped(request: _Request, images: NDArray[Any], labels: NDArray[Any] | None) -> _Loaded:
    """Images of uint8 (N, C, H, W) arrays at the requested size and channels."""
    path, channels, side, count = request.path, request.channels, request.size, images.shape[0]
    if images.size == 0:
        raise UnusableFile(path, f"holds no image: its shape is {images.shape}")
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu"):
        raise UnusableFile(
            path, f"has labels of {labels.dtype} {labels.shape}, expected integers ({count},)"
        )
    chosen = request.selection.of(range(count))
    store = PixelStore(len(chosen), (channels, side, side))
    for index in request.track(chosen, "reading images", total=len(chosen)):
        pixels = torch.from_numpy(np.array(images[index]))  # a copy: the file's bytes are read-only
        if len(pixels) == 4:
            pixels = decode_image(picture_of(pixels.permute(1, 2, 0).numpy()), path).pixels
        store.add(with_channels(crop_and_resize(pixels, (side, side)), channels))
    known = None if labels is None else torch.from_numpy(labels[list(chosen)].astype(np.int64))
    return store.images(), ClassLabels(known), ""
