"""Decoding many images into one batch, with threads, in order; skipped files are listed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from wherefrom.core.compute.passes import in_order
from wherefrom.core.errors import InputError
from wherefrom.core.limits import FULL_PIXELS, Limits, limits_in_force
from wherefrom.core.paths import show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.data.decoding.images import Carrier, strict_pillow
from wherefrom.data.files.opening import SkippedFile, UnusableFile, show_bytes
from wherefrom.data.images.items import ReadImage, crop_and_resize, read_image, too_little
from wherefrom.data.images.notebook import rows_as_frame, rows_as_html

WRONG_SIZE = " px, expected "
LARGE = f" px; above {FULL_PIXELS} px an image is read only where it is scaled to a size"
_THREADS = min(8, os.cpu_count() or 1)
AHEAD = 4  # images per thread that are decoded before they are stored
MAX_IN_MEMORY = 512 * 2**20
KEPT_FREE_BYTES = 2**30  # of the disk with the temporary folder


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of one size, in the order in which they were listed.

    `images` is uint8 (N, C, H, W); `paths`, `digests` (of the files' bytes), `notes` and `carriers`
    have N entries.  `skipped` lists every other file with the reason; `duplicates`
    of them have the pixels of an earlier image.
    """

    images: Tensor
    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    notes: tuple[tuple[str, ...], ...]
    skipped: tuple[SkippedFile, ...]
    duplicates: int
    carriers: tuple[Carrier, ...]

    @property
    def lossless(self) -> tuple[bool, ...]:
        """Of each image, whether its format keeps the pixels, as JPEG does not."""
        return tuple(carrier.lossless for carrier in self.carriers)

    @property
    def lossy(self) -> int:
        """The number of images whose format changes pixels."""
        return len(self.carriers) - sum(self.lossless)

    def to_dict(self) -> dict[str, Any]:
        """The files as JSON values, without their pixels: those read, and those skipped."""
        return {"images": self._rows(), "skipped": [file.to_dict() for file in self.skipped]}

    def to_dataframe(self) -> Any:
        """A pandas data frame with a line per image (extra `dataframe`)."""
        return rows_as_frame(self._rows())

    def _repr_html_(self) -> str:
        height, width = self.images.shape[2:]
        counts = f"{len(self.paths)} read, {len(self.skipped)} skipped"
        rows = [{name: row[name] for name in ("path", "notes")} for row in self._rows()]
        return rows_as_html(rows, caption=f"images of {width}x{height} px: {counts}", image="path")

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"path": str(path), "lossless": lossless, "notes": "; ".join(notes), "digest": digest}
            for path, lossless, notes, digest in zip(
                self.paths, self.lossless, self.notes, self.digests, strict=True
            )
        ]


@dataclass(frozen=True)
class BatchOptions:
    """How `read_files` turns files into a batch; the same as the arguments of `read_images`."""

    channels: int
    size: tuple[int, int] | None
    resize: bool = False
    at_least: int = 1
    drop_duplicates: bool = True
    limits: Limits = field(default_factory=limits_in_force)
    losses: bool = True

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels is {self.channels}; choose 1 (grey) or 3 (colour)")
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"the image size is {self.size}; both sides must be at least 1 px")
        if self.size is None and self.resize:
            raise InputError("resizing needs a size; give height and width")
        if self.at_least < 0:
            raise InputError(f"at_least is {self.at_least}; give 0 or more")


def read_files(
    files: Sequence[Path], where: str, options: BatchOptions, *, track: Track = quiet
) -> ImageBatch:
    """Read files into one batch of `options.size` = (height, width).

    A file that is missing is skipped like any other that cannot be read.  With `resize`, images are
    cropped around the centre and scaled; without, an image of another size is skipped with that
    reason.  Without a `size`, the first usable image sets it.  Fewer than `at_least` usable images
    are an `InputError` that quotes the first problem and `where`.
    """
    batch = _GrowingBatch(len(files), options)
    with _decoders() as pool:
        results = in_order(pool, partial(_prepare, options), files, ahead=AHEAD * _THREADS)
        tracked = track(results, "reading images", total=len(files))
        for path, result in zip(files, tracked, strict=True):
            batch.add(path, result)
    if len(batch.paths) < options.at_least:
        first = f" (first problem: {batch.skipped[0]})" if batch.skipped else ""
        if not options.resize and any(WRONG_SIZE in file.reason for file in batch.skipped):
            first += "; pass --resize to crop and scale other sizes"
        usable = "1 usable image" if len(batch.paths) == 1 else f"{len(batch.paths)} usable images"
        raise InputError(f"{where}: {usable}, at least {options.at_least} are needed{first}")
    return batch.finish()


@dataclass
class _GrowingBatch:
    """The batch while it grows, of at most `capacity` images."""

    capacity: int
    options: BatchOptions
    store: PixelStore | None = None
    paths: list[Path] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    carriers: list[Carrier] = field(default_factory=list)
    notes: list[tuple[str, ...]] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    seen: dict[bytes, Path] = field(default_factory=dict)
    duplicates: int = 0

    def add(self, path: Path, result: ReadImage | UnusableFile) -> None:
        if isinstance(result, UnusableFile):
            self._skip(path, result.reason)
            return
        if self.store is None:
            self.store = self._reserve(result.pixels)
        if tuple(result.pixels.shape) != self.store.shape:
            self._skip(path, _wrong_size(result.carrier.size, self.store.shape[1:]))
            return
        key = hashlib.sha256(result.pixels.numpy().tobytes()).digest()
        if self.options.drop_duplicates and key in self.seen:
            self._skip(path, f"has the same pixels as {show_path(self.seen[key])}")
            self.duplicates += 1
            return
        self.seen[key] = path
        self.store.add(result.pixels)
        self.paths.append(path)
        self.digests.append(result.digest)
        self.carriers.append(result.carrier)
        self.notes.append(result.notes)

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append(SkippedFile(path, reason))

    def _reserve(self, pixels: Tensor) -> PixelStore:
        needed, allowed = self.capacity * pixels.numel(), self.options.limits.max_batch_bytes
        if needed > allowed:
            height, width = pixels.shape[1:]
            raise InputError(
                f"{self.capacity} images of {width}x{height} px need {show_bytes(needed)}, at most "
                f"{show_bytes(allowed)} are held at once; give fewer images or a smaller size"
            )
        return PixelStore(self.capacity, tuple(pixels.shape))

    def finish(self) -> ImageBatch:
        shape = (0, self.options.channels, *(self.options.size or (0, 0)))
        blank = torch.empty(shape, dtype=torch.uint8)
        return ImageBatch(
            images=blank if self.store is None else self.store.images(),
            paths=tuple(self.paths),
            digests=tuple(self.digests),
            notes=tuple(self.notes),
            skipped=tuple(self.skipped),
            duplicates=self.duplicates,
            carriers=tuple(self.carriers),
        )


@contextmanager
def _decoders() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="wherefrom-decode")
    try:
        with strict_pillow():
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(options: BatchOptions, path: Path) -> ReadImage | UnusableFile:
    try:
        image = read_image(
            path, channels=options.channels, limits=options.limits, losses=options.losses
        )
    except UnusableFile as problem:
        return problem
    height, width = image.carrier.size  # in the file; a large image is reduced
    reduced = image.pixels.shape[1:] != image.carrier.size
    if reduced and not options.resize:
        return UnusableFile(path, f"is too large: {width}x{height}{LARGE}")
    if options.size is None or (height, width) == options.size:
        return image
    if not options.resize:
        return UnusableFile(path, _wrong_size((height, width), options.size))
    if reason := too_little((height, width), options.size):
        return UnusableFile(path, reason)
    notes = (*image.notes, f"cropped and scaled from {width}x{height} px")
    return replace(image, pixels=crop_and_resize(image.pixels, options.size), notes=notes)


def _wrong_size(actual: tuple[int, int], size: tuple[int, ...]) -> str:
    height, width = actual
    return f"is {width}x{height}{WRONG_SIZE}{size[1]}x{size[0]} px"


class PixelStore:
    """A growing batch of at most `count` uint8 images (C, H, W) of one shape.

    A folder of 70,000 images at 256 px is 13 GiB.  So many are written to a temporary file without
    a name and mapped from there, and the system can drop from memory what is not read at the
    moment.  An `InputError` if the disk with the temporary folder has no room for them.
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
