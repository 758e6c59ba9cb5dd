"""Bounded reading of EXIF and TIFF directories: single fields, and whether values overlap.

A directory is a list of 12-byte entries (20 in a BigTIFF) that point at their values.  Many entries
may point at the same megabytes, and a reader that copies every value then needs more memory than
there is.  In a sound file the values do not overlap, so that they are no longer than the file.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

IMAGE, SUB, XP_FIRST, XP_LAST = 0x010E, 0x8769, 0x9C9B, 0x9C9F
ASCII, UNDEFINED = 2, 7
MAX_VALUE = 2**20  # bytes of one field
MAX_DIRECTORIES, MAX_ENTRIES = 10_000, 500_000
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class ExifField:
    """One field of a directory, whose value is `size` bytes at `place`."""

    tag: int
    type: int
    size: int
    place: int


@dataclass(frozen=True)
class _Layout:
    order: str  # of struct: < or >
    big: bool

    @property
    def entry(self) -> int:
        return 20 if self.big else 12

    @property
    def inline(self) -> int:
        return 8 if self.big else 4


def exif_bytes(block: bytes) -> bytes:
    """The TIFF structure of an EXIF block, without the marker that some formats put before it."""
    return block[6:] if block[:6] == b"Exif\0\0" else block


def values_overlap(data: bytes | memoryview) -> bool:
    """Whether the directories of a TIFF structure point at more bytes than it has."""
    total = entries = 0
    try:
        for count, directory in enumerate(_directories(data)):
            for entry in directory:
                entries += 1
                total += entry.size if entry.size <= len(data) else 0
            if total > len(data) or entries > MAX_ENTRIES or count > MAX_DIRECTORIES:
                return True
    except (struct.error, ValueError):
        return False  # damaged: its reader refuses it
    return False


def read_fields(data: bytes, wanted: Collection[int]) -> dict[int, int | bytes]:
    """The wanted fields of the first directory and its EXIF part: a whole number, or bytes.

    Of a damaged structure the readable fields are returned; that is no error.
    """
    values: dict[int, int | bytes] = {}
    try:
        layout, start = _layout(data)
        pending, seen = [start], set[int]()
        while pending:
            offset = pending.pop()
            if offset in seen or len(seen) > 4:
                continue
            seen.add(offset)
            for entry in _entries(data, layout, offset)[0]:
                if entry.tag == SUB or (entry.tag in wanted and entry.tag not in values):
                    value = _value(data, entry, layout)
                    if entry.tag != SUB:
                        values[entry.tag] = value
                    elif isinstance(value, int):
                        pending.append(value)
    except (struct.error, ValueError):
        pass
    return values


def _value(data: bytes, entry: ExifField, layout: _Layout) -> int | bytes:
    raw = data[entry.place : entry.place + min(entry.size, MAX_VALUE)]
    if entry.type in _WHOLE and entry.size == _SIZES[entry.type]:
        number: int = struct.unpack(layout.order + _WHOLE[entry.type], raw)[0]
        return number
    return raw


def _layout(data: bytes | memoryview) -> tuple[_Layout, int]:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise ValueError("no TIFF structure")
    magic = struct.unpack_from(f"{order}H", data, 2)[0]
    if magic == 43:
        return _Layout(order, True), struct.unpack_from(f"{order}Q", data, 8)[0]
    return _Layout(order, False), struct.unpack_from(f"{order}I", data, 4)[0]


def _directories(data: bytes | memoryview) -> Iterator[list[ExifField]]:
    layout, offset = _layout(data)
    seen = set[int]()
    while offset and offset not in seen:
        seen.add(offset)
        entries, offset = _entries(data, layout, offset)
        yield entries


def _entries(data: bytes | memoryview, layout: _Layout, offset: int) -> tuple[list[ExifField], int]:
    """The entries of the directory at `offset`, and where the next one is (0: nowhere)."""
    head = "Q" if layout.big else "H"
    (count,) = struct.unpack_from(layout.order + head, data, offset)
    at = offset + struct.calcsize(head)
    entries: list[ExifField] = []
    for _ in range(min(count, MAX_ENTRIES)):
        if at + layout.entry > len(data):
            return entries, 0
        form = "HHQ" if layout.big else "HHI"
        tag, kind, number = struct.unpack_from(layout.order + form, data, at)
        size, place = number * _SIZES.get(kind, 0), at + layout.entry - layout.inline
        if size > layout.inline:
            (place,) = struct.unpack_from(layout.order + ("Q" if layout.big else "I"), data, place)
        if size:
            entries.append(ExifField(tag, kind, size, place))
        at += layout.entry
    last = data[at : at + layout.inline]
    following = int.from_bytes(last, "little" if layout.order == "<" else "big")
    return entries, following if len(last) == layout.inline else 0
