"""Conversions between float and 8-bit pixels, grids of images, and PNG files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import write_file
from wherefrom.data.images.items import to_image


def to_uint8(images: Tensor) -> Tensor:
    """Floating-point images in [0, 1] as uint8 of the same shape: 255 x, half to even, clamped."""
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}, expected floating point in [0, 1]")
    if not bool(torch.isfinite(images).all()):
        raise InputError("images hold NaN or infinite pixels, which have no 8-bit value")
    wide = images if images.dtype == torch.float64 else images.to(torch.float32)
    return (wide * 255).round().clamp(0, 255).to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], same shape."""
    if images.dtype != torch.uint8:
        raise InputError(f"images are {images.dtype}, expected uint8")
    return images.to(torch.float32) / 255


def image_grid(images: Tensor, columns: int, *, gap: int = 2) -> Tensor:
    """uint8 (N, C, H, W) row by row as one uint8 (C, H', W'), `gap` white pixels between."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[0] == 0:
        raise InputError(
            f"images are {images.dtype} {tuple(images.shape)}, expected uint8 (N, C, H, W), N > 0"
        )
    if columns < 1 or gap < 0:
        raise InputError(f"columns is {columns} and gap {gap}; give at least 1 and 0")
    count, bands, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = (bands, rows * (height + gap) - gap, columns * (width + gap) - gap)
    grid = torch.full(shape, 255, dtype=torch.uint8, device=images.device)
    for index, image in enumerate(images):
        row, column = index // columns * (height + gap), index % columns * (width + gap)
        grid[:, row : row + height, column : column + width] = image
    return grid


def save_png(pixels: Tensor, path: Path) -> None:
    """Write uint8 (H, W), (1, H, W) or (3, H, W) as a PNG file, whole or not at all."""
    shown = pixels[None] if pixels.ndim == 2 else pixels
    if shown.dtype != torch.uint8 or shown.ndim != 3 or shown.shape[0] not in (1, 3):
        raise InputError(
            f"pixels are {pixels.dtype} {tuple(pixels.shape)}, expected uint8 (H, W), (1, H, W) "
            "or (3, H, W)"
        )
    if shown.numel() == 0:
        raise InputError(f"pixels of shape {tuple(pixels.shape)} hold no pixel")
    buffer = io.BytesIO()
    to_image(shown.detach().cpu()).save(buffer, format="PNG")
    _write_whole(Path(path), buffer.getvalue())


def save_gif(frames: Tensor, path: Path, *, seconds: float = 0.1) -> None:
    """Write uint8 frames (N, C, H, W), C 1 or 3, as a GIF file that repeats, whole or not at all.

    `seconds`: how long each frame is shown.
    """
    first, *others = [to_image(frame) for frame in frames.detach().cpu()]
    buffer = io.BytesIO()
    timing = {"duration": round(1000 * seconds), "loop": 0}
    first.save(buffer, format="GIF", save_all=True, append_images=others, **timing)
    _write_whole(Path(path), buffer.getvalue())


def _write_whole(path: Path, data: bytes) -> None:
    try:
        write_file(path, data)
    except OSError as error:
        raise InputError(f"cannot write {show_path(path)}: {error.strerror}") from error


def float_parts(
    images: Tensor, rows: Sequence[int] | None = None, *, size: int = 256
) -> Iterator[Tensor]:
    """uint8 images (N, C, H, W), or those at `rows`, as float32 in [0, 1], `size` at a time.

    A part of no images comes where there are none, so that there is always one.
    """
    count = len(images) if rows is None else len(rows)
    for start in range(0, max(count, 1), size):
        chosen = slice(start, start + size)
        yield to_float(images[chosen] if rows is None else images[list(rows[chosen])])
