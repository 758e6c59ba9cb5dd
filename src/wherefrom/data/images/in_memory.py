"""Images that a caller has in memory, for functions that read files.

An image is a Pillow image, an array (H, W) or (H, W, C) as of numpy and OpenCV's RGB, or a tensor
(C, H, W), with C = 1 or 3; uint8, or floating point in [0, 1].  Arrays (N, H, W, C) and tensors
(N, C, H, W) are N images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.items import read_image, to_pixels
from wherefrom.data.images.writing import save_png, to_uint8

Picture: TypeAlias = "Image.Image | np.ndarray[Any, Any] | Tensor"
Pictures: TypeAlias = "Path | str | Picture | Sequence[Path | str | Picture]"
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # of Pillow, and what they are read as


def in_memory(images: Any) -> bool:
    """Whether at least one of the images is no path."""
    if isinstance(images, Image.Image | np.ndarray | Tensor):
        return True
    if isinstance(images, Path | str):
        return False
    return any(isinstance(image, Image.Image | np.ndarray | Tensor) for image in images)


def pixels_of(images: Any) -> list[Tensor]:
    """The images, files among them, as uint8 (C, H, W); an `InputError` for what is no image."""
    if isinstance(images, Path | str):
        return [read_image(Path(images), losses=False).pixels]
    if isinstance(images, Image.Image):
        if images.mode not in MODES:
            raise InputError(
                f"the image is of Pillow's mode {images.mode}, expected L or RGB; convert "
                "it first, as image.convert('RGB')"
            )
        return [to_pixels(images.convert(MODES[images.mode]))]
    if isinstance(images, np.ndarray):
        array = torch.from_numpy(np.ascontiguousarray(images))
        if array.ndim == 2:
            array = array[..., None]
        return pixels_of(array.movedim(-1, -3)) if array.ndim in (3, 4) else _refuse(array)
    if not isinstance(images, Tensor):
        if not isinstance(images, Sequence):
            kind = type(images).__name__
            raise InputError(
                f"an image is of type {kind}; give a path, an array, a tensor or a Pillow image"
            )
        return [pixels for image in images for pixels in pixels_of(image)]
    if images.ndim == 2:
        images = images[None]
    if images.ndim not in (3, 4) or images.shape[-3] not in (1, 3) or not images.numel():
        return _refuse(images)
    pixels = images.detach().cpu()
    if pixels.dtype != torch.uint8:
        pixels = to_uint8(pixels)
    return list(pixels[None] if pixels.ndim == 3 else pixels)


def stacked(images: Any) -> Tensor:
    """Images of one size as uint8 (N, C, H, W)."""
    pixels = pixels_of(images)
    if len({tuple(image.shape) for image in pixels}) != 1:
        shapes = " and ".join(sorted({"x".join(map(str, p.shape)) for p in pixels})) or "none"
        raise InputError(f"the images are {shapes}; pass images of one size, or files")
    return torch.stack(pixels)


@contextmanager
def as_files(images: Pictures) -> Iterator[list[Path]]:
    """Paths as they are, and images in memory as PNG files, `image-0.png` and so on.

    The files lie in a temporary folder, which is removed at the end.
    """
    given: Any = images
    if isinstance(images, Path | str | Image.Image | np.ndarray | Tensor):
        given = [images]
    if not in_memory(given):
        yield [Path(path) for path in given]
        return
    with tempfile.TemporaryDirectory(prefix="wherefrom-") as folder:
        paths: list[Path] = []
        for image in given:
            if isinstance(image, Path | str):
                paths.append(Path(image))
                continue
            for pixels in pixels_of(image):
                paths.append(Path(folder) / f"image-{len(paths)}.png")
                save_png(pixels, paths[-1])
        yield paths


def shown_name(path: str, images: Any) -> str:
    """The name of an image in a result: that of its file, without the temporary folder."""
    name = Path(path).name
    temporary = Path(path).parent.name.startswith("wherefrom-") and name.startswith("image-")
    return name if temporary and in_memory(images) else path


def _refuse(images: Tensor) -> list[Tensor]:
    raise InputError(
        f"the image has the shape {tuple(images.shape)}; give arrays (H, W, C) or tensors "
        "(C, H, W), with 1 or 3 channels, or many of them in one"
    )
