"""Text as cameras, editors and generators write it into files, made legible.

EXIF 2.32, 4.6.5 (UserComment) puts 8 bytes before a comment that name its encoding; generators
write UTF-16 of either byte order behind the same name.  Windows' XP fields are UTF-16.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_CHARACTERS = 400
MAX_BYTES = 8 * 2**20  # of one text
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
)  # fmt: skip
_SAMPLE = 4096  # bytes that decide on the byte order
_WIDE, _BOTH = ("utf-16-le", "utf-16-be"), 2


def decode_comment(raw: bytes, *, big_endian: bool = False) -> str:
    """The text of EXIF's UserComment; without its prefix it is decoded as `decode_text` does."""
    prefix, rest = raw[:8], raw[8:]
    if prefix in (b"ASCII\0\0\0", bytes(8)):
        return decode_text(rest)
    if prefix == b"UNICODE\0":
        return decode_wide(rest, big_endian=big_endian)
    if prefix == b"JIS\0\0\0\0\0":
        return _tidy(_first(rest, ("iso2022_jp", "shift_jis", "euc_jp")))
    return decode_text(raw)


def decode_text(raw: bytes) -> str:
    """Bytes of an unnamed encoding: by their mark, as UTF-16 where half are zero, UTF-8, cp1252."""
    raw = raw[:MAX_BYTES]
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _tidy(raw[len(mark) :].decode(encoding, "replace"))
    sample = raw[:_SAMPLE].rstrip(b"\0")
    if len(sample) >= 4 and sample.count(0) * 3 >= len(sample):
        return decode_wide(raw)
    return _tidy(_first(raw.rstrip(b"\0"), ("utf-8", "cp1252")))


def decode_wide(raw: bytes, *, big_endian: bool = False) -> str:
    """UTF-16 of the byte order that fits best; `big_endian` decides where both fit."""
    raw = raw[:MAX_BYTES]
    for mark, encoding in _MARKS[3:]:
        if raw.startswith(mark):
            return _tidy(raw[len(mark) :].decode(encoding, "replace"))
    if _is_plain(raw):
        return _tidy(raw.decode("utf-8", "replace"))
    # A script lies in few rows of 256 characters, so that the high bytes vary less.
    even, odd = len(set(raw[:_SAMPLE:2])), len(set(raw[1:_SAMPLE:2]))
    big = big_endian if even == odd else even < odd
    return _tidy(raw.decode(_WIDE[big], "replace"))


def one_line(value: object) -> str:
    """One printable line of at most `MAX_CHARACTERS` characters."""
    if isinstance(value, bytes):
        value = decode_text(value[: 4 * _BOTH * MAX_CHARACTERS])
    text = "".join(c if c.isprintable() else " " for c in str(value)[: 2 * MAX_CHARACTERS])
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _is_plain(raw: bytes) -> bool:
    """Whether text that is said to be UTF-16 is UTF-8: no zero bytes, and valid."""
    sample = raw[:_SAMPLE].rstrip(b"\0")
    return len(sample) > 0 and 0 not in sample and sample.isascii()


def _first(raw: bytes, encodings: Sequence[str]) -> str:
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding == "utf-8" and _is_cut(raw, error):
                return raw[: error.start].decode(encoding)
    return raw.decode(encodings[-1], "replace")


def _is_cut(raw: bytes, error: UnicodeDecodeError) -> bool:
    """Whether UTF-8 ends inside a character; one odd letter at the end may be of cp1252: café."""
    is_utf8 = len(raw) >= MAX_CHARACTERS or not raw[: error.start].isascii()
    return is_utf8 and error.reason == "unexpected end of data"


def _tidy(text: str) -> str:
    return text.replace("\0", "").strip()
