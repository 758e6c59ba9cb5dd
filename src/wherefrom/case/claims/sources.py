"""The text that a file carries beside its pixels: EXIF, XMP, text chunks and comments.

Everything is bounded before it is decoded, and no pixel is read.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from wherefrom.case.claims.text import decode_comment, decode_text, decode_wide
from wherefrom.data.decoding.images import strict_pillow
from wherefrom.data.decoding.metadata.exif import exif_bytes, read_fields
from wherefrom.data.decoding.metadata.png_chunks import MAGIC, chunks, texts
from wherefrom.data.decoding.metadata.removal import sound_file
from wherefrom.data.files.kinds import readable_formats

MAX_TEXT, MAX_ALL = 8 * 2**20, 32 * 2**20  # bytes, inflated
# Who or what made it, with what, when; camera settings are left out.
EXIF = {
    0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software",
    0x0132: "DateTime", 0x013B: "Artist", 0x8298: "Copyright", 0x9003: "DateTimeOriginal",
    0x9286: "UserComment", 0x9C9B: "XPTitle", 0x9C9C: "XPComment", 0x9C9D: "XPAuthor",
    0x9C9E: "XPKeywords", 0x9C9F: "XPSubject",
}  # fmt: skip
_COMMENT, _XP, _XMP_TAG = 0x9286, range(0x9C9B, 0x9CA0), 700
_XMP_TEXT = "XML:com.adobe.xmp"
_RAW = "Raw profile type "  # ImageMagick: other metadata as hexadecimal text
_BLOCKS = (
    "icc_profile", "exif", "xmp", "photoshop", "mp", "compression", "version", "icc_profile_type",
)  # fmt: skip
# IPTC's vocabulary of digital source types, as generators write it into XMP.
SOURCE_TYPE = re.compile(rb"cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{1,60})")
XMP = {
    "CreatorTool": "xmp:CreatorTool", "creator": "dc:creator", "title": "dc:title",
    "description": "dc:description", "rights": "dc:rights", "Credit": "photoshop:Credit",
    "UserComment": "exif:UserComment", "AI system": "Iptc4xmpExt:AISystemUsed",
    "AI system version": "Iptc4xmpExt:AISystemVersionUsed",
    "AI prompt": "Iptc4xmpExt:AIPromptInformation",
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A text in a file: the block that holds it, its name there, and the text, decoded."""

    source: str
    name: str
    text: str


def read_written(data: bytes) -> list[Written]:
    """Every text of an image file that is not empty; what Pillow raises where it is damaged."""
    exif, xmp, written = b"", b"", []
    with strict_pillow():
        image = Image.open(io.BytesIO(sound_file(data).data), formats=readable_formats(data))
    info = image.info
    if data.startswith(MAGIC):
        exif = next((data[c.first : c.last] for c in chunks(data) if c.name == b"eXIf"), b"")
        for text in texts(data, max_bytes=MAX_TEXT, max_total=MAX_ALL):
            if text.keyword == _XMP_TEXT:
                xmp = text.value
            elif text.keyword.startswith(_RAW):
                exif = exif or _from_hexadecimal(text.value)
            else:
                written.append(Written("text in the file", text.keyword, decode_text(text.value)))
    else:
        exif = data if image.format == "TIFF" else _bytes(info.get("exif"))
        xmp = _bytes(info.get("xmp")) or _bytes(getattr(image, "tag_v2", {}).get(_XMP_TAG))
        written = list(_comments(info))
    entries = [*_exif(exif_bytes(exif)), *written, *_xmp(xmp), *_source_types(data, xmp)]
    return [entry for entry in entries if entry.text]


def _comments(info: Mapping[Any, Any]) -> Iterator[Written]:
    for name, value in info.items():
        if isinstance(name, str) and name not in _BLOCKS and isinstance(value, str | bytes):
            text = decode_text(value) if isinstance(value, bytes) else value[:MAX_TEXT]
            yield Written("text in the file", name, text)


def _exif(exif: bytes) -> Iterator[Written]:
    for tag, value in sorted(read_fields(exif, EXIF).items()):
        if not isinstance(value, bytes):
            text = str(value)
        elif tag == _COMMENT:
            text = decode_comment(value, big_endian=exif[:2] == b"MM")
        else:
            text = decode_wide(value) if tag in _XP else decode_text(value)
        yield Written("EXIF", EXIF[tag], text)


def _xmp(xmp: bytes) -> Iterator[Written]:
    packet = decode_text(xmp[:MAX_TEXT])
    for name, tag in XMP.items():
        place = packet.find(tag)
        if place >= 0:
            yield Written("XMP", name, _value(packet[place + len(tag) :][:MAX_TEXT]))


def _value(rest: str) -> str:
    """The value behind a name: of an attribute, of an element, or of the first item in it."""
    if attribute := re.match(r'\s*=\s*(?:"([^"]*)"|\'([^\']*)\')', rest):
        return html.unescape(attribute[1] or attribute[2] or "").strip()
    inside = re.match(r"[^>]{0,400}>([^<]*)", rest)
    if inside is None or inside[1].strip():
        return html.unescape(inside[1]).strip() if inside else ""
    item = re.search(r"<rdf:li[^>]{0,400}>([^<]*)", rest[:4000])
    return html.unescape(item[1]).strip() if item else ""


def _source_types(data: bytes, xmp: bytes) -> Iterator[Written]:
    packet = decode_text(xmp[:MAX_TEXT]).encode("utf-8", "replace")  # it may be compressed
    for name in dict.fromkeys([*SOURCE_TYPE.findall(data), *SOURCE_TYPE.findall(packet)]):
        yield Written("XMP", "digital source type (IPTC)", name.decode("ascii"))


def _from_hexadecimal(value: bytes) -> bytes:
    """The EXIF block in a `Raw profile`: a line with its name, one with its length, then digits."""
    lines = value.decode("latin-1").strip().split("\n")
    try:
        raw = bytes.fromhex("".join(lines[2:]))
    except ValueError:
        return b""
    return raw if raw[:6] == b"Exif\0\0" else b""


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b""
