"""The chunks of a PNG file, and the same file without metadata that is damaged or too large.

PNG specification (third edition), 5.3 chunk layout, 11.3.3 text.  Node editors write megabytes of
text beside the picture.  A decoder that reads all of it can be made to fill the memory, and one
that refuses the file loses the picture; so the metadata is left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from wherefrom.data.decoding.metadata.exif import values_overlap

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK = 2**20  # of metadata: what Pillow reads at most, inflated
MAX_METADATA = 16 * 2**20
MAX_METADATA_CHUNKS, MAX_CHUNKS = 2_000, 1_000_000
MAX_PROFILE = 8 * 2**20
MAX_KEYWORD = 79
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# What the pixels of the first frame depend on.  Unknown critical chunks (upper case) stay, too.
_PIXELS = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_MIN_BYTES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}


@dataclass(frozen=True)
class Chunk:
    """One chunk: its `name`, where it begins, and where its data begin and end."""

    name: bytes
    start: int
    first: int
    last: int

    @property
    def end(self) -> int:
        """Where the next chunk begins."""
        return self.last + 4


@dataclass(frozen=True)
class Text:
    """A text of a PNG file, cut at the requested length unless `whole`."""

    keyword: str
    value: bytes
    encoding: str
    whole: bool


@dataclass(frozen=True)
class SoundFile:
    """`data` for Pillow; the colour profile if it was taken out; notes on what was left out."""

    data: bytes
    profile: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _MetadataFilter:
    """Decides which chunks are kept, and collects the reasons for leaving out the others."""

    data: bytes
    read: int = 0
    count: int = 0
    reasons: dict[str, None] = field(default_factory=dict)

    def keeps(self, chunk: Chunk) -> bool:
        if not chunk.name[0] & 0x20 or chunk.name in _PIXELS:
            return True
        reason = self._fault(chunk)
        if reason:
            self.reasons[reason] = None
        return not reason

    def _fault(self, chunk: Chunk) -> str:
        data, self.count = self.data[chunk.first : chunk.last], self.count + 1
        if self.count > MAX_METADATA_CHUNKS:
            return f"more than {MAX_METADATA_CHUNKS} entries"
        if _wrong_checksum(self.data, chunk) or len(data) < _MIN_BYTES.get(chunk.name, 0):
            return f"{_show(chunk.name)} is damaged"
        if chunk.name == b"eXIf" and values_overlap(data):
            return "EXIF is damaged"
        return self._excess(chunk.name, data)

    def _excess(self, name: bytes, data: bytes) -> str:
        text = read_text(name, data, MAX_CHUNK) if name in _TEXTS else None
        size = len(data) if text is None else len(text.value)
        self.read += size
        if text is not None and not text.whole:
            return f"{text.keyword or 'a text'} is longer than {MAX_CHUNK >> 20} MiB"
        if text is None and name in _TEXTS:
            return f"{_show(name)} is damaged"
        too_long = size > MAX_CHUNK or self.read > MAX_METADATA
        return f"{_show(name)} is too long" if too_long else ""


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file that are there whole; `ValueError` for more than `MAX_CHUNKS`."""
    at = len(MAGIC)
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = Chunk(data[at + 4 : at + 8], at, at + 8, at + 8 + length)
        if chunk.end > len(data):
            return
        yield chunk
        at = chunk.end
        if chunk.name == b"IEND":
            return
    raise ValueError(f"it has more than {MAX_CHUNKS} chunks")


def without_excess(data: bytes) -> SoundFile:
    """A PNG file without metadata that is damaged or too large; the pixels are untouched.

    The colour profile is always taken out and returned, None if it is missing or unreadable.
    """
    chunk_filter, parts, begin, profile = _MetadataFilter(data), [], 0, None
    for chunk in chunks(data):
        if chunk.name == b"iCCP":
            readable, fault = _profile(data, chunk)
            profile = profile or readable
            chunk_filter.reasons |= {fault: None} if fault else {}
        elif chunk_filter.keeps(chunk):
            continue
        parts.append(data[begin : chunk.start])
        begin = chunk.end
    notes = _notes(chunk_filter.reasons)
    if not begin:
        return SoundFile(data, None, notes)
    return SoundFile(b"".join([*parts, data[begin:]]), profile, notes)


def texts(data: bytes, *, max_bytes: int, max_total: int) -> Iterator[Text]:
    """The texts of a PNG file in order, each cut at `max_bytes`, all of them at `max_total`."""
    budget = max_total
    for chunk in chunks(data):
        if budget <= 0:
            return
        if chunk.name not in _TEXTS:
            continue
        text = read_text(chunk.name, data[chunk.first : chunk.last], min(max_bytes, budget))
        if text is not None:
            budget -= len(text.value) + MAX_KEYWORD
            yield text


def read_text(name: bytes, data: bytes, max_bytes: int) -> Text | None:
    """The text in a chunk of type tEXt, zTXt or iTXt; None for a damaged one."""
    keyword, _, rest = data.partition(b"\0")
    encoding, compressed = "latin-1", name == b"zTXt"
    if name == b"zTXt":
        method, rest = rest[:1], rest[1:]
    elif name == b"iTXt":
        encoding, compressed, method = "utf-8", rest[:1] != b"\0", rest[1:2]
        _, separator, rest = rest[2:].partition(b"\0")[2].partition(b"\0")
        if not separator:
            return None
    if not compressed:
        return Text(_show(keyword), rest[:max_bytes], encoding, len(rest) <= max_bytes)
    try:
        value, whole = _inflate(rest, max_bytes)
    except zlib.error:
        return None
    return Text(_show(keyword), value, encoding, whole) if method == b"\0" else None


def _profile(data: bytes, chunk: Chunk) -> tuple[bytes | None, str]:
    rest = data[chunk.first : chunk.last].partition(b"\0")[2]
    try:
        profile, whole = _inflate(rest[1:], MAX_PROFILE)
    except zlib.error:
        return None, "the colour profile is damaged"
    if not profile or _wrong_checksum(data, chunk):
        return None, "the colour profile is damaged"
    if not whole:
        return None, f"the colour profile is longer than {MAX_PROFILE >> 20} MiB"
    return profile, ""


def _inflate(data: bytes, max_bytes: int) -> tuple[bytes, bool]:
    value = zlib.decompressobj().decompress(data, max_bytes + 1)
    return value[:max_bytes], len(value) <= max_bytes


def _wrong_checksum(data: bytes, chunk: Chunk) -> bool:
    stated = int.from_bytes(data[chunk.last : chunk.end], "big")
    return zlib.crc32(data[chunk.first : chunk.last], zlib.crc32(chunk.name)) != stated


def _show(keyword: bytes) -> str:
    text = keyword[:MAX_KEYWORD].decode("latin-1")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _notes(reasons: dict[str, None]) -> tuple[str, ...]:
    if not reasons:
        return ()
    few = "; ".join(list(reasons)[:3])
    more = f"; {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return (f"metadata left out: {few}{more}",)
