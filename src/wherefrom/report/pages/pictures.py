"""Thumbnails, and a query with its differences from a candidate on it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.images.items import read_image, to_image
from wherefrom.data.images.notebook import data_uri, encode_picture
from wherefrom.origin.searching.evidence import CandidateOverlay

MAX_SIDE = 96
MAX_COUNT = 200


class Pictured(Protocol):
    """A row about a file: `name` is its path, `digest` that of its bytes, None if unreadable."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str | None: ...


@dataclass(frozen=True)
class PicturedFile:
    """A file to be shown as a thumbnail, where no result is at hand."""

    name: str
    digest: str | None


def thumbnails(
    rows: Sequence[Pictured], *, exact: bool = True, track: Track = quiet
) -> dict[str, str]:
    """Data addresses by name, for the first `MAX_COUNT` rows that name a readable file.

    They are PNG, or JPEG with `exact` off: much smaller, for pages with thousands of them.  A file
    that changed since it was checked gets none.
    """
    pictures = {}
    few = rows[:MAX_COUNT]
    for row in track(few, "drawing thumbnails", total=len(few)):
        try:
            image = read_image(Path(row.name), losses=False)
        except InputError:
            continue  # the row itself says what is wrong with the file
        if row.digest is None or row.digest == image.digest:
            picture = to_image(image.pixels)
            if exact:
                pictures[row.name] = encode_picture(picture, side=MAX_SIDE)
            else:
                picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
                pictures[row.name] = _encode(picture.convert("RGB"))
    return pictures


SIDE, SMALL = 360, 96  # px, the longer one
# Of unrelated photographs the median cell is about 1.1 apart, with the encoder of the package.
FULL = 1.5  # deviations at which a cell is fully tinted
TINT, FRAME = (194, 65, 12), (31, 95, 168)
OPAQUE = 0.85
SCALE = ("same", f"{FULL:g} deviations")


def draw_picture(path: str, digest: str | None) -> str | None:
    """A data address of the file as it was compared, None if it cannot be shown."""
    image = open_picture(path, digest)
    return None if image is None else _encode(image)


def draw_difference(
    path: str, digest: str | None, evidence: CandidateOverlay, *, side: int = SIDE
) -> str | None:
    """The query, grey, tinted where its latent differs; paler where the candidate ends."""
    image = open_picture(path, digest, side)
    if image is None:
        return None
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None].repeat(3, axis=2)
    cells = evidence.cells
    missing = cells.isnan()
    share = _enlarged(torch.where(missing, 0.0, cells / FULL).clamp(0, 1), image.size) * OPAQUE
    outside = _enlarged(missing.float(), image.size) * 0.7
    tinted = grey * (1 - share) + np.array(TINT) * share
    pale = tinted * (1 - outside) + 255 * outside
    return _encode(Image.fromarray(pale.round().clip(0, 255).astype(np.uint8)))


def draw_candidate(path: str, digest: str, evidence: CandidateOverlay | None) -> str | None:
    """The candidate, with a frame around what the query shows of it if that is not all."""
    image = open_picture(path, digest)
    if image is None:
        return None
    if evidence is not None and not evidence.alignment.is_plain:
        place, (width, height) = evidence.alignment, image.size
        x0, x1 = (round(x * (width - 1)) for x in (place.x0, place.x1))
        y0, y1 = (round(y * (height - 1)) for y in (place.y0, place.y1))
        box = (max(x0, 0), max(y0, 0), min(x1, width - 1), min(y1, height - 1))
        ImageDraw.Draw(image).rectangle(box, outline=FRAME, width=3)
    return _encode(image)


def open_picture(path: str, digest: str | None, side: int = SIDE) -> Image.Image | None:
    """The file, at most `side` px, None if it cannot be read or is not the one with `digest`."""
    try:
        read = read_image(Path(path), channels=3, losses=False)
    except InputError:
        return None
    if digest is not None and read.digest != digest:
        return None
    image = to_image(read.pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _enlarged(cells: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float64]:
    small = Image.fromarray(cells.numpy().astype(np.float32))
    return np.asarray(small.resize(size, Image.Resampling.BILINEAR), dtype=np.float64)[..., None]


def _encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return data_uri(buffer.getvalue(), "image/jpeg")
