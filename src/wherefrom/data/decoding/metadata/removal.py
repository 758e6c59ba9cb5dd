"""Removing metadata that would keep Pillow from reading a file's pixels.

Metadata that is damaged, too large, or made to fill the memory is left out beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wherefrom.data.decoding.metadata.exif import exif_bytes, values_overlap
from wherefrom.data.decoding.metadata.png_chunks import MAGIC, SoundFile, without_excess

EXIF_LEFT_OUT = "EXIF damaged, orientation unknown"
MAX_SEGMENTS, MAX_STARTS = 100_000, 1_000
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PPM = re.compile(rb"P[1-6]\s")
_PPM_PART = re.compile(rb"\s*(?:#[^\r\n]*[\r\n]|(\d{1,10})(?=[\s#]))")
_SCAN, _FIRST_APP, _LAST_APP, _COMMENT = 0xDA, 0xE0, 0xEF, 0xFE
_COLOUR_SEGMENTS = {0xE0, 0xEE}  # JFIF, and Adobe's, with the coding of the colours


@dataclass(frozen=True)
class JpegSegment:
    """A segment of a JPEG file in front of its pixels: data[start:end], `first` of its contents."""

    marker: int
    start: int
    first: int
    end: int


def sound_file(data: bytes) -> SoundFile:
    """The file without metadata that is damaged or too large.

    `ValueError` for a TIFF whose directories point at more bytes than it has: its pixels lie in
    the same directories.
    """
    if data.startswith(MAGIC):
        return without_excess(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _sound_jpeg(data)
    if data[:4] in TIFF_STARTS and values_overlap(data):
        raise ValueError("the values in its directories overlap")
    if data[4:8] == b"ftyp":  # AVIF and HEIF, whose EXIF Pillow reads when it opens them
        _refuse_overlap_inside(data)
    if _PPM.match(data):
        return SoundFile(_without_comments(data))
    return SoundFile(data)


def bare_jpeg(data: bytes) -> bytes | None:
    """A JPEG file without all metadata; None for other files and where there is none."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    excess = [segment for segment in segments(data) if _is_metadata(segment)]
    return _without(data, excess) if excess else None


def segments(data: bytes) -> Iterator[JpegSegment]:
    """The segments of a JPEG file in front of its first scan."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        start = at
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] == b"\xff":
            at += 1
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            return
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN or length < 2:
            return
        at += 2 + length
        yield JpegSegment(marker, start, at - length + 2, min(at, len(data)))
    raise ValueError(f"it has more than {MAX_SEGMENTS} segments in front of its pixels")


def _without_comments(data: bytes) -> bytes:
    """A PPM file without the comments in its header, which Pillow reads a byte at a time."""
    parts, at = [data[:2]], 2
    numbers = 2 if data[1:2] in b"14" else 3
    while numbers and len(parts) < MAX_STARTS:
        part = _PPM_PART.match(data, at)
        if part is None:
            return data
        at = part.end()
        if part[1] is not None:
            parts.append(b" " + part[1])
            numbers -= 1
    return b"".join([*parts, data[at:]]) if at > 200 else data


def _refuse_overlap_inside(data: bytes) -> None:
    """A `ValueError` if anything in a file that looks like EXIF points at more than there is."""
    view, count = memoryview(data), 0
    for start in TIFF_STARTS:
        at = data.find(start)
        while at >= 0:
            count += 1
            if count > MAX_STARTS or values_overlap(view[at:]):
                raise ValueError("the values in its EXIF overlap")
            at = data.find(start, at + 1)


def _sound_jpeg(data: bytes) -> SoundFile:
    blocks = [
        segment
        for segment in segments(data)
        if segment.marker == 0xE1 and data[segment.first : segment.first + 6] == b"Exif\0\0"
    ]
    # Pillow joins several blocks, each without its marker.
    joined = b"".join(exif_bytes(data[block.first : block.end]) for block in blocks)
    if not values_overlap(joined):
        return SoundFile(data)
    return SoundFile(_without(data, blocks), None, (EXIF_LEFT_OUT,))


def _is_metadata(segment: JpegSegment) -> bool:
    is_app = _FIRST_APP <= segment.marker <= _LAST_APP and segment.marker not in _COLOUR_SEGMENTS
    return is_app or segment.marker == _COMMENT


def _without(data: bytes, excess: list[JpegSegment]) -> bytes:
    parts, begin = [], 0
    for segment in excess:
        parts.append(data[begin : segment.start])
        begin = segment.end
    return b"".join([*parts, data[begin:]])
