"""Training images from what people have: a folder, an .npz, MNIST's idx files, a .tar."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.store import digest_tensors
from wherefrom.data.arrays import (
    IDX_IMAGES,
    IDX_LABELS,
    MAX_ARRAY_BYTES,
    MAX_FILE_BYTES,
    read_idx,
    read_npz,
)
from wherefrom.data.batches import ImageBatch, Source, Wanted, gather_images
from wherefrom.data.decoding import DEFAULT_LIMITS
from wherefrom.data.files import UnusableFile, open_regular, read_regular, show_bytes, show_path
from wherefrom.data.folders import SUFFIXES, list_images
from wherefrom.data.shaping import crop_and_resize, with_channels
from wherefrom.data.splits import spread_indices

MAX_SIDE = 1024
_IDX_NAME = re.compile(r"^(.*)images([-.])idx3-ubyte(\.gz)?$")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """A data set to train on.

    `images` is uint8 (N, C, S, S); `labels` is int64 (N,) where the source tells classes apart;
    `digest` covers the pixels in their order.
    """

    images: Tensor
    digest: str
    labels: Tensor | None
    description: str


@dataclass(frozen=True)
class Part:
    """Which items of a data set to take: first those in `span`, of these `limit` evenly spread."""

    limit: int | None = None
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the limit is {self.limit}; give 1 or more")
        if self.span is not None and not 0 <= self.span[0] < self.span[1]:
            raise InputError(f"the span is {self.span[0]}:{self.span[1]}; give start:stop, 0 first")

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The chosen items, in their order."""
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

    `path` is a folder of images, a `.tar` of images (read in place), an `.npz` with `images`
    uint8 (N, H, W, 3), or an idx file as `train-images-idx3-ubyte.gz` (28 px become 32 by a black
    border).  `span` takes the images start to stop - 1 in the order of the source, which leaves the
    rest for tests; `limit` takes that many, spread evenly, as archives are often sorted by class.
    Anything else, or a damaged file, is an `InputError`.
    """
    path = Path(path)
    if not 1 <= size <= MAX_SIDE:
        raise InputError(f"the image size is {size}; choose 1 to {MAX_SIDE} px")
    if channels not in (1, 3):
        raise InputError(f"channels is {channels}; choose 1 (grey) or 3 (colour)")
    part = Part(limit, span)
    images, labels, remark = _reader(path)(path, size, channels, part, track)
    count = images.shape[0]
    text = f"{path.name}: {count} images of {size}x{size} px, {channels} channels{remark}"
    return TrainingImages(images, digest_tensors({"images": images}), labels, text)


_Loaded = tuple[Tensor, Tensor | None, str]
_Reader = Callable[[Path, int, int, Part, Track], _Loaded]


def _reader(path: Path) -> _Reader:
    if path.is_dir():
        return _from_folder
    if path.suffix == ".npz":
        return _from_npz
    if path.suffix == ".tar":
        return _from_tar
    if _IDX_NAME.match(path.name):
        return _from_idx
    if not path.exists():
        raise UnusableFile(path, "there is no such file or folder")
    raise UnusableFile(
        path,
        "is not a data set; expected a folder of images, a .tar, an .npz, or *images-idx3-ubyte.gz",
    )


def _from_folder(path: Path, size: int, channels: int, part: Part, track: Track) -> _Loaded:
    sources = [
        Source(file, partial(read_regular, file, max_bytes=DEFAULT_LIMITS.max_bytes))
        for file in part.of(list_images([path]))
    ]
    wanted = Wanted(channels, (size, size), resize=True)
    return _labelled(gather_images(sources, f"{show_path(path)}/", wanted, track=track))


def _from_tar(path: Path, size: int, channels: int, part: Part, track: Track) -> _Loaded:
    with open_regular(path, max_bytes=MAX_FILE_BYTES) as file:
        members = part.of(_list_members(path, file))
        sources = [
            Source(Path(name), partial(_read_at, Path(name), file.fileno(), start, length))
            for name, start, length in members
        ]
        if not sources:
            raise UnusableFile(path, "holds no image; expected files such as name.png inside")
        wanted = Wanted(channels, (size, size), resize=True)
        return _labelled(gather_images(sources, show_path(path), wanted, track=track))


def _list_members(path: Path, file: BinaryIO) -> list[tuple[str, int, int]]:
    """Name, offset and length of every image in the archive; nothing is extracted."""
    members, last = [], -1
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.offset <= last:
                    raise UnusableFile(path, "is damaged: its entries point backwards")
                last = member.offset
                name = Path(member.name)
                if not member.isreg() or member.issparse() or name.name.startswith("."):
                    continue
                if name.suffix.lower() in SUFFIXES and member.size <= DEFAULT_LIMITS.max_bytes:
                    members.append((member.name, member.offset_data, member.size))
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise UnusableFile(path, f"is not a readable .tar archive: {error}") from error
    return sorted(members)


def _read_at(path: Path, handle: int, start: int, length: int) -> bytes:
    data = os.pread(handle, length, start)
    if len(data) != length:
        raise UnusableFile(path, "lies behind the end of the archive, which is cut short")
    return data


def _labelled(batch: ImageBatch) -> _Loaded:
    remark = f" ({len(batch.skipped)} skipped)" if batch.skipped else ""
    return batch.images, _folder_labels(batch.paths), remark


def _folder_labels(paths: Sequence[Path]) -> Tensor | None:
    """The rank of each image's folder, where all lie equally deep in two folders or more."""
    classes = {parent: rank for rank, parent in enumerate(sorted({p.parent for p in paths}))}
    if len(classes) < 2 or len({len(p.parts) for p in paths}) > 1:
        return None
    return torch.tensor([classes[path.parent] for path in paths])


def _from_npz(path: Path, size: int, channels: int, part: Part, track: Track) -> _Loaded:
    arrays = read_npz(path)
    images = arrays["images"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UnusableFile(
            path,
            f"holds 'images' of {images.dtype} {images.shape}, expected uint8 (N, H, W, 3)",
        )
    return _shaped(
        path, images.transpose(0, 3, 1, 2), arrays.get("labels"), size, channels, part, track
    )


def _from_idx(path: Path, size: int, channels: int, part: Part, track: Track) -> _Loaded:
    images = read_idx(path, IDX_IMAGES, 3)
    match = cast(re.Match[str], _IDX_NAME.match(path.name))
    beside = path.with_name(f"{match[1]}labels{match[2]}idx1-ubyte{match[3] or ''}")
    labels = read_idx(beside, IDX_LABELS, 1) if beside.exists() else None
    if size == 32 and images.shape[1:] == (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return _shaped(path, images[:, None], labels, size, channels, part, track)


def _shaped(
    path: Path,
    images: NDArray[Any],
    labels: NDArray[Any] | None,
    size: int,
    channels: int,
    part: Part,
    track: Track,
) -> _Loaded:
    """uint8 (N, C, H, W) arrays at the wanted size and channels."""
    count = images.shape[0]
    if images.size == 0:
        raise UnusableFile(path, f"holds no image: its shape is {images.shape}")
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu"):
        raise UnusableFile(
            path, f"has labels of {labels.dtype} {labels.shape}, expected integers ({count},)"
        )
    chosen = part.of(range(count))
    if (needed := len(chosen) * channels * size * size) > MAX_ARRAY_BYTES:
        raise InputError(
            f"{len(chosen)} images of {size}x{size} px need {show_bytes(needed)}, at most "
            f"{show_bytes(MAX_ARRAY_BYTES)}; pass a limit or a smaller size"
        )
    out = torch.empty((len(chosen), channels, size, size), dtype=torch.uint8)
    for row, index in enumerate(track(chosen, "reading images", total=len(chosen))):
        pixels = torch.from_numpy(np.array(images[index]))  # a copy: the file's bytes are read-only
        out[row] = with_channels(crop_and_resize(pixels, (size, size)), channels)
    known = None if labels is None else torch.from_numpy(labels[list(chosen)].astype(np.int64))
    return out, known, ""
