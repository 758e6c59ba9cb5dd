"""Reading one image file as 8-bit pixels, with notes on every change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.limits import FULL_PIXELS, Limits, limits_in_force
from wherefrom.core.notes import add_note
from wherefrom.core.saving.store import digest_bytes
from wherefrom.data.decoding.images import Carrier, decode
from wherefrom.data.files.reading import read_file
from wherefrom.data.shaping import to_pixels, with_channels

# Notes that a person should read: programs print each of these texts once (`core.notes`).
WORTH_SAYING, REDUCED = ("metadata", "colour", "EXIF damaged"), "read at"


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
    path: Path, *, channels: int | None = None, limits: Limits | None = None
) -> ReadImage:
    """Read one image; with `channels` = 1 or 3 it is turned into grey or colour.

    Colours are converted to sRGB by the embedded profile, transparency is laid over
    `limits.background`, 16 bits are rounded to 8, EXIF orientation is applied, the first frame of
    an animation is taken.  Without `limits`, `limits_in_force` hold.  A file that is missing,
    special, too large, damaged, truncated or no image is an `InputError` of one line.
    """
    path, limits = Path(path), limits or limits_in_force()
    data = read_file(path, max_bytes=limits.max_bytes)
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
