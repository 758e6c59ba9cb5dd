"""Images to be scored: tensors, or files that are decoded when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.limits import limits_in_force
from wherefrom.core.saving.store import digest_bytes, digest_tensors
from wherefrom.data.files.archives import read_file
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.images.items import crop_and_resize, decode_image, too_little
from wherefrom.data.images.writing import to_float
from wherefrom.encoders.encoder import check_shape

Paths = Path | str | Sequence[Path | str]


@dataclass(frozen=True, eq=False)
class Item:
    """One image with its place, its name and the digest of its content."""

    index: int
    name: str
    digest: str
    content: Tensor | bytes  # pixels (3, H, W) float32, or the bytes of a file
    resolution: int = 0  # of a file's image

    def image(self) -> Tensor:
        """(3, H, W) float32 in [0, 1]; `UnusableFile` for bytes that are no image."""
        if isinstance(self.content, Tensor):
            return self.content
        return _decode(self.content, Path(self.name), self.resolution)


def tensor_items(images: Tensor, names: Sequence[str]) -> Iterator[Item]:
    """Items of images (N, 3, H, W) float in [0, 1]."""
    for index, (name, image) in enumerate(zip(names, images, strict=True)):
        yield Item(index, name, digest_pixels(image), image.float())


def read_items(
    files: Iterable[Path], resolution: int, skipped: dict[int, SkippedFile]
) -> Iterator[Item]:
    """Items of files, not decoded yet; files that cannot be read go to `skipped`, by index."""
    for index, path in enumerate(files):
        try:
            data = read_file(path, max_bytes=limits_in_force().max_bytes)
        except UnusableFile as problem:
            skipped[index] = SkippedFile(path, problem.reason)
            continue
        yield Item(index, str(path), digest_bytes(data), data, resolution)


def as_paths(paths: Paths) -> list[Path]:
    """The files and folders as a list, also where a single one is given."""
    given = [paths] if isinstance(paths, str | Path) else paths
    return [Path(path) for path in given]


def load_image(path: Path, resolution: int) -> Tensor:
    """An image file as `score_files` sees it: (3, S, S) float32 in [0, 1], cropped and scaled."""
    path = Path(path)
    return _decode(read_file(path, max_bytes=limits_in_force().max_bytes), path, resolution)


def digest_pixels(image: Tensor) -> str:
    """The digest of an image (3, H, W) as float32; it names the image's random streams."""
    return digest_tensors({"image": image.float()})


def check_images(images: Tensor) -> None:
    """An `InputError` unless `images` are (N, 3, H, W) float, finite and in [0, 1]."""
    check_shape(images)
    for i, image in enumerate(images):
        low, high = (float(value) for value in torch.aminmax(image))
        if not (low >= 0 and high <= 1):
            raise InputError(f"image {i} holds values from {low:g} to {high:g}, expected [0, 1]")


def _decode(data: bytes, path: Path, resolution: int) -> Tensor:
    image, size = decode_image(data, path, channels=3, losses=False), (resolution, resolution)
    if reason := too_little(image.carrier.size, size):
        raise UnusableFile(path, reason)
    return to_float(crop_and_resize(image.pixels, size))
