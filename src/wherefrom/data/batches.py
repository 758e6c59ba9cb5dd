"""Many encoded images as one batch: decoded by threads, kept in order, nothing silent."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.limits import FULL_PIXELS, Limits, limits_in_force
from wherefrom.core.progress import Track, quiet
from wherefrom.data.decoding.strictness import strict_pillow
from wherefrom.data.files.opening import UnusableFile, show_bytes, show_path
from wherefrom.data.images import Carrier, ReadImage, decode_image
from wherefrom.data.pixel_store import PixelStore
from wherefrom.data.shaping import crop_and_resize, too_little

WRONG_SIZE = " px, expected "
LARGE = f" px; above {FULL_PIXELS} px an image is read only where it is scaled to a size"
_THREADS = min(8, os.cpu_count() or 1)
AHEAD = 4  # images per thread that are decoded before they are stored

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Source:
    """An encoded image not yet read: its name, and how to get its bytes."""

    path: Path
    read: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of one size, in the order in which they were listed.

    `images` is uint8 (N, C, H, W); `paths`, `digests` (of the files' bytes), `lossless`,
    `notes` and `carriers` have N entries; `skipped` names every other file and why; `duplicates`
    of these were skipped because their pixels equal those of an earlier image.
    """

    images: Tensor
    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    lossless: tuple[bool, ...]
    notes: tuple[tuple[str, ...], ...]
    skipped: tuple[tuple[Path, str], ...]
    duplicates: int
    carriers: tuple[Carrier, ...] = ()

    @property
    def lossy(self) -> int:
        """How many come from a format that changes pixels, as JPEG does."""
        return len(self.lossless) - sum(self.lossless)


@dataclass(frozen=True)
class Wanted:
    """What `gather_images` makes of its sources; the arguments of `read_images`."""

    channels: int
    size: tuple[int, int] | None
    resize: bool = False
    at_least: int = 1
    drop_duplicates: bool = True
    limits: Limits = field(default_factory=limits_in_force)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels is {self.channels}; choose 1 (grey) or 3 (colour)")
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"the image size is {self.size}; both sides must be at least 1 px")
        if self.size is None and self.resize:
            raise InputError("resizing needs a size; give height and width")
        if self.at_least < 0:
            raise InputError(f"at_least is {self.at_least}; give 0 or more")


def gather_images(
    sources: Sequence[Source], where: str, wanted: Wanted, *, track: Track = quiet
) -> ImageBatch:
    """`read_images` of sources that need not be files; `where` names them in errors."""
    kept = _Kept(len(sources), wanted)
    with _decoders() as pool:
        results = _in_order(pool, partial(_prepare, wanted), sources)
        for source, result in zip(
            sources, track(results, "reading images", total=len(sources)), strict=True
        ):
            kept.add(source.path, result)
    if len(kept.paths) < wanted.at_least:
        first = f" (first problem: {kept.first_problem()})" if kept.skipped else ""
        if not wanted.resize and any(WRONG_SIZE in reason for _, reason in kept.skipped):
            first += "; pass --resize to crop and scale other sizes"
        usable = "1 usable image" if len(kept.paths) == 1 else f"{len(kept.paths)} usable images"
        raise InputError(f"{where}: {usable}, at least {wanted.at_least} are needed{first}")
    return kept.batch()


@dataclass
class _Kept:
    """The batch while it grows."""

    most: int
    wanted: Wanted
    store: PixelStore | None = None
    paths: list[Path] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    lossless: list[bool] = field(default_factory=list)
    carriers: list[Carrier] = field(default_factory=list)
    notes: list[tuple[str, ...]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    seen: dict[bytes, Path] = field(default_factory=dict)
    duplicates: int = 0

    def add(self, path: Path, result: ReadImage | UnusableFile) -> None:
        if isinstance(result, UnusableFile):
            self.skipped.append((path, result.reason))
            return
        if self.store is None:
            self.store = self._reserve(result.pixels)
        if tuple(result.pixels.shape) != self.store.shape:
            reason = _wrong_size(result.carrier.size, self.store.shape[1:])
            self.skipped.append((path, reason))
            return
        key = hashlib.sha256(result.pixels.numpy().tobytes()).digest()
        if self.wanted.drop_duplicates and key in self.seen:
            self.skipped.append((path, f"has the same pixels as {show_path(self.seen[key])}"))
            self.duplicates += 1
            return
        self.seen[key] = path
        self.store.add(result.pixels)
        self.paths.append(path)
        self.digests.append(result.digest)
        self.lossless.append(result.lossless)
        self.carriers.append(result.carrier)
        self.notes.append(result.notes)

    def _reserve(self, pixels: Tensor) -> PixelStore:
        needed, allowed = self.most * pixels.numel(), self.wanted.limits.max_batch_bytes
        if needed > allowed:
            height, width = pixels.shape[1:]
            raise InputError(
                f"{self.most} images of {width}x{height} px need {show_bytes(needed)}, at most "
                f"{show_bytes(allowed)} are held at once; give fewer images or a smaller size"
            )
        return PixelStore(self.most, tuple(pixels.shape))

    def first_problem(self) -> str:
        path, reason = self.skipped[0]
        return f"{show_path(path)} {reason}"

    def batch(self) -> ImageBatch:
        shape = (0, self.wanted.channels, *(self.wanted.size or (0, 0)))
        blank = torch.empty(shape, dtype=torch.uint8)
        return ImageBatch(
            images=blank if self.store is None else self.store.images(),
            paths=tuple(self.paths),
            digests=tuple(self.digests),
            lossless=tuple(self.lossless),
            notes=tuple(self.notes),
            skipped=tuple(self.skipped),
            duplicates=self.duplicates,
            carriers=tuple(self.carriers),
        )


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """The results of `work` in order, only a few of them made before they are asked for."""
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= AHEAD * _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _decoders() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="wherefrom-decode")
    try:
        with strict_pillow():
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(wanted: Wanted, source: Source) -> ReadImage | UnusableFile:
    try:
        data = source.read()
        image = decode_image(data, source.path, channels=wanted.channels, limits=wanted.limits)
    except UnusableFile as problem:
        return problem
    height, width = image.carrier.size  # in the file; a large image is reduced
    reduced = image.pixels.shape[1:] != image.carrier.size
    if reduced and not wanted.resize:
        return UnusableFile(source.path, f"is too large: {width}x{height}{LARGE}")
    if wanted.size is None or (height, width) == wanted.size:
        return image
    if not wanted.resize:
        return UnusableFile(source.path, _wrong_size((height, width), wanted.size))
    if reason := too_little((height, width), wanted.size):
        return UnusableFile(source.path, reason)
    notes = (*image.notes, f"cropped and scaled from {width}x{height} px")
    return replace(image, pixels=crop_and_resize(image.pixels, wanted.size), notes=notes)


def _wrong_size(found: tuple[int, int], size: tuple[int, ...]) -> str:
    height, width = found
    return f"is {width}x{height}{WRONG_SIZE}{size[1]}x{size[0]} px"
