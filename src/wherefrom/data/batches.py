"""Many encoded images as one batch: decoded by threads, kept in order, nothing silent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.decoding import DEFAULT_LIMITS, Limits, strict_pillow
from wherefrom.data.files import UnusableFile, show_bytes, show_path
from wherefrom.data.images import Carrier, ReadImage, decode_image
from wherefrom.data.shaping import crop_and_resize

WRONG_SIZE = " px, expected "
_THREADS = min(8, os.cpu_count() or 1)


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
    limits: Limits = DEFAULT_LIMITS

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
        results = pool.map(partial(_prepare, wanted), sources)
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
    """The batch while it grows; its memory is reserved at once, and touched image by image."""

    most: int
    wanted: Wanted
    buffer: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
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
        if self.buffer.ndim == 1:
            self.buffer = self._reserve(result.pixels)
        if result.pixels.shape != self.buffer.shape[1:]:
            self.skipped.append((path, _wrong_size(result.pixels, tuple(self.buffer.shape[2:]))))
            return
        key = hashlib.sha256(result.pixels.numpy().tobytes()).digest()
        if self.wanted.drop_duplicates and key in self.seen:
            self.skipped.append((path, f"has the same pixels as {show_path(self.seen[key])}"))
            self.duplicates += 1
            return
        self.seen[key] = path
        self.buffer[len(self.paths)] = result.pixels
        self.paths.append(path)
        self.digests.append(result.digest)
        self.lossless.append(result.lossless)
        self.carriers.append(result.carrier)
        self.notes.append(result.notes)

    def _reserve(self, pixels: Tensor) -> Tensor:
        needed, allowed = self.most * pixels.numel(), self.wanted.limits.max_batch_bytes
        if needed > allowed:
            height, width = pixels.shape[1:]
            raise InputError(
                f"{self.most} images of {width}x{height} px need {show_bytes(needed)}, at most "
                f"{show_bytes(allowed)} are held at once; give fewer images or a smaller size"
            )
        return torch.empty((self.most, *pixels.shape), dtype=torch.uint8)

    def first_problem(self) -> str:
        path, reason = self.skipped[0]
        return f"{show_path(path)} {reason}"

    def batch(self) -> ImageBatch:
        count = len(self.paths)
        if not count:
            shape = (0, self.wanted.channels, *(self.wanted.size or (0, 0)))
            self.buffer = torch.empty(shape, dtype=torch.uint8)
        return ImageBatch(
            images=self.buffer if count in (0, self.most) else self.buffer[:count].clone(),
            paths=tuple(self.paths),
            digests=tuple(self.digests),
            lossless=tuple(self.lossless),
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


def _prepare(wanted: Wanted, source: Source) -> ReadImage | UnusableFile:
    try:
        data = source.read()
        image = decode_image(data, source.path, channels=wanted.channels, limits=wanted.limits)
    except UnusableFile as problem:
        return problem
    height, width = image.pixels.shape[1:]
    if wanted.size is None or (height, width) == wanted.size:
        return image
    if not wanted.resize:
        return UnusableFile(source.path, _wrong_size(image.pixels, wanted.size))
    notes = (*image.notes, f"cropped and scaled from {width}x{height} px")
    return replace(image, pixels=crop_and_resize(image.pixels, wanted.size), notes=notes)


def _wrong_size(pixels: Tensor, size: tuple[int, ...]) -> str:
    height, width = pixels.shape[1:]
    return f"is {width}x{height}{WRONG_SIZE}{size[1]}x{size[0]} px"
