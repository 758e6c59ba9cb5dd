"""Reading one image file as 8-bit pixels, with notes on every change; their size and channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.limits import FULL_PIXELS, Limits, limits_in_force
from wherefrom.core.progress import add_note
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.decoding.images import Carrier, decode
from wherefrom.data.files.archives import read_file

# Notes that a person should read: programs print each of these texts once (`core.progress`).
WORTH_SAYING, REDUCED = ("metadata", "colour", "EXIF damaged"), "read at"
MIN_SIDE, MAX_ENLARGED = 4, 32  # px of the used part; factor by which it is enlarged
# ITU-R 601 luma in 16-bit fixed point; the weights add up to 65536, so equal channels stay exact.
_LUMA = (19595, 38470, 7471)


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image file.

    `pixels` is uint8 (C, H, W) with C = 1 or 3, upright; `digest` is SHA-256 of the file's bytes;
    `notes` lists every change between the file and `pixels`.  An image above 50 megapixels is
    reduced: `carrier.size` is the size in the file.
    """

    path: Path
    pixels: Tensor
    digest: str
    notes: tuple[str, ...]
    carrier: Carrier

    @property
    def format(self) -> str:
        """The name of the file format, as `PNG`."""
        return self.carrier.format

    @property
    def lossless(self) -> bool:
        """False where the format itself changes pixels, as JPEG, lossy WebP or a palette does."""
        return self.carrier.lossless


def read_image(
    path: Path, *, channels: int | None = None, limits: Limits | None = None, losses: bool = True
) -> ReadImage:
    """Read one image; with `channels` = 1 or 3 it is turned into grey or colour.

    Colours are converted to sRGB by the embedded profile, transparency is laid over
    `limits.background`, 16 bits are rounded to 8, EXIF orientation is applied, the first frame of
    an animation is taken.  Without `limits`, `limits_in_force` hold.  With `losses`, the pixels of
    a lossless file are searched for traces of earlier losses, which takes about 10 ms; see
    `carrier.altered`.  A file that is missing, special, too large, damaged, truncated or no image
    is an `InputError` of one line.
    """
    path, limits = Path(path), limits or limits_in_force()
    data = read_file(path, max_bytes=limits.max_bytes)
    return decode_image(data, path, channels=channels, limits=limits, losses=losses)


def decode_image(
    data: bytes,
    path: Path,
    *,
    channels: int | None = None,
    limits: Limits | None = None,
    losses: bool = True,
) -> ReadImage:
    """`read_image` of bytes that are in memory already; `path` is the name used in errors."""
    decoded = decode(data, path, limits or limits_in_force(), losses=losses)
    pixels, notes = to_pixels(decoded.image), decoded.notes
    _say(notes)
    if channels is not None and channels != pixels.shape[0]:
        notes = (*notes, _channel_note(pixels))
    if channels is not None:
        pixels = with_channels(pixels, channels)
    return ReadImage(path, pixels, digest_bytes(data), notes, decoded.carrier)


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        if note.startswith(REDUCED):
            add_note(
                f"images above {FULL_PIXELS // 1_000_000} megapixels are read at a smaller size"
            )
        elif note.startswith(WORTH_SAYING):
            add_note(f"among the images read: {note}")


def _channel_note(pixels: Tensor) -> str:
    if pixels.shape[0] == 1:
        return "grey repeated to 3 channels"
    if torch.equal(pixels[0], pixels[1]) and torch.equal(pixels[1], pixels[2]):
        return "equal channels merged to grey"
    return "colour averaged to grey (ITU-R 601 luma)"


def to_image(pixels: Tensor) -> Image.Image:
    """A Pillow image of uint8 pixels (1, H, W) or (3, H, W)."""
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def to_pixels(image: Image.Image) -> Tensor:
    """uint8 pixels (1, H, W) or (3, H, W) of a Pillow image of mode L or RGB."""
    array = np.array(image, dtype=np.uint8)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """uint8 (..., C, H, W) with C = 1 or 3: grey is repeated, colour becomes its luma."""
    if channels not in (1, 3):
        raise InputError(f"channels is {channels}; choose 1 (grey) or 3 (colour)")
    if pixels.shape[-3] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:]).contiguous()
    red, green, blue = (band.to(torch.int32) for band in pixels.unbind(-3))
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue + 32768
    return (luma >> 16).to(torch.uint8).unsqueeze(-3)


def too_little(actual: tuple[int, int], size: tuple[int, int]) -> str:
    """Why an image of `actual` = (h, w) holds too little to be judged at `size`, or "".

    Enlarging a few pixels gives one flat colour, which a detector calls normal or strange whatever
    the image showed.
    """
    tall, wide = _part(actual, size)
    if actual == size:
        return ""
    if tall >= MIN_SIDE and wide >= MIN_SIDE and MAX_ENLARGED * tall >= size[0]:
        return ""
    return (
        f"is {actual[1]}x{actual[0]} px, of which {wide}x{tall} px would be blown up to "
        f"{size[1]}x{size[0]} px: too little to judge"
    )


def _part(actual: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest part of an image of `actual` with the aspect of `size`."""
    scale = min(actual[0] / size[0], actual[1] / size[1])
    tall = min(actual[0], max(1, round(size[0] * scale)))
    return tall, min(actual[1], max(1, round(size[1] * scale)))


def crop_and_resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest centred part of uint8 (C, H, W) with the wanted aspect, at `size` = (h, w).

    An image of that size already is returned bit for bit.  Lanczos widens with the reduction, so
    it does not alias, and unlike a box it keeps fine texture, which is what generators differ in.
    """
    height, width = pixels.shape[-2:]
    if (height, width) == size:
        return pixels
    tall, wide = _part((height, width), size)
    row, column = (height - tall) // 2, (width - wide) // 2
    part = to_image(pixels[..., row : row + tall, column : column + wide])
    return to_pixels(part.resize((size[1], size[0]), Image.Resampling.LANCZOS))
