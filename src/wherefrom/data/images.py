"""One image file as 8-bit pixels, and what had to be done to get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.limits import FULL_PIXELS, Limits, limits_in_force
from wherefrom.core.notes import add_note
from wherefrom.core.store import digest_bytes
from wherefrom.data.decoding.images import decode
from wherefrom.data.files.opening import read_regular
from wherefrom.data.shaping import to_pixels, with_channels

# Notes that a person should read; programs print each text of these once (`core.notes`).
WORTH_SAYING, REDUCED = ("metadata", "colour", "EXIF damaged"), "read at"


@dataclass(frozen=True)
class Carrier:
    """The file that an image came in: what it may have done to the pixels.

    `lossless`: its format gives back the pixels that were put in, and holds 8 bits of each colour.
    `altered`: what else changed them, as far as the file tells, as `a palette of 8 colours`; or "".
    """

    format: str
    lossless: bool
    quality: int | None  # of a JPEG file, 1 to 100
    size: tuple[int, int]  # height and width in the file
    altered: str = ""


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image file.

    `pixels` is uint8 (C, H, W) with C = 1 or 3, upright; `digest` is SHA-256 of the file's bytes;
    `lossless` is False where the format itself changes pixels (JPEG, lossy WebP, a palette);
    `notes` lists every change between the file and `pixels`.  An image above 50 megapixels is
    reduced: `carrier.size` is the size in the file.
    """

    path: Path
    pixels: Tensor
    digest: str
    format: str
    lossless: bool
    notes: tuple[str, ...]
    carrier: Carrier


def read_image(
    path: Path, *, channels: int | None = None, limits: Limits | None = None
) -> ReadImage:
    """Read one image; with `channels` = 1 or 3 it is turned into grey or colour.

    Colours are converted to sRGB by the embedded profile, transparency is laid over
    `limits.background`, 16 bits are rounded to 8, EXIF orientation is applied, the first frame of
    an animation is taken.  Without `limits`, `limits_in_force` hold.  A file that is missing,
    special, too large, damaged, truncated or no image is an `InputError` of one line.
    """
    path, limits = Path(path), limits or limits_in_force()
    data = read_regular(path, max_bytes=limits.max_bytes)
    return decode_image(data, path, channels=channels, limits=limits)


def decode_image(
    data: bytes, path: Path, *, channels: int | None = None, limits: Limits | None = None
) -> ReadImage:
    """`read_image` of bytes that are in memory already; `path` is the name used in errors."""
    decoded = decode(data, path, limits or limits_in_force())
    pixels, notes = to_pixels(decoded.image), decoded.notes
    _say(notes)
    if channels is not None and channels != pixels.shape[0]:
        notes = (*notes, _channel_note(pixels))
    if channels is not None:
        pixels = with_channels(pixels, channels)
    carrier = Carrier(
        decoded.format, decoded.lossless, decoded.quality, decoded.size, decoded.altered
    )
    return ReadImage(
        path, pixels, digest_bytes(data), decoded.format, decoded.lossless, notes, carrier
    )


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
