"""Recognising kinds of images by first bytes and name; which of them are read.

A kind that is known but not read has a reason that names the package which reads it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from PIL import features

HEAD_BYTES = 64  # enough for `kind_of`

READ_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
    | {".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".avif", ".avifs", ".heic", ".heif", ".hif", ".heics", ".heifs"}
)
RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf"}
    | {".rw2", ".rwl", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".mrw", ".kdc", ".dcr", ".erf"}
)
_OTHER_SUFFIXES = {
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000", ".j2k": "JPEG 2000", ".j2c": "JPEG 2000", ".jpf": "JPEG 2000",
    ".jpx": "JPEG 2000", ".jpc": "JPEG 2000",
    ".psd": "Photoshop", ".psb": "Photoshop", ".xcf": "GIMP", ".kra": "Krita",
    ".exr": "OpenEXR", ".hdr": "Radiance HDR", ".tga": "Targa", ".dds": "DDS", ".ktx2": "KTX",
    ".ico": "icon", ".icns": "icon", ".qoi": "QOI", ".svg": "SVG", ".svgz": "SVG",
}  # fmt: skip
IMAGE_SUFFIXES = READ_SUFFIXES | RAW_SUFFIXES | frozenset(_OTHER_SUFFIXES)

RAW = "camera raw"
RAW_PREVIEW = (
    "is a camera's raw file, which is no picture yet; develop it with rawpy or darktable and save "
    "it as PNG"
)
_REASONS: Mapping[str, str] = {
    "HEIF": "is a HEIC file, which pillow-heif reads: pip install 'wherefrom[heif]'",
    "AVIF": "is an AVIF file, which this build of Pillow cannot read: pip install -U pillow",
    "JPEG XL": "is a JPEG XL file, which is not read; save it as PNG with djxl of libjxl",
    "JPEG 2000": "is a JPEG 2000 file, which is not read; save it as PNG with opj_decompress "
    "of openjpeg",
    RAW: RAW_PREVIEW,
    "SVG": "is an SVG drawing, which has no pixels; save it as PNG with rsvg-convert of librsvg",
    "OpenEXR": "is an OpenEXR file, whose numbers are no 8-bit picture; save it as PNG with "
    "oiiotool of OpenImageIO",
    "Radiance HDR": "is a Radiance HDR file, whose numbers are no 8-bit picture; save it as PNG "
    "with oiiotool of OpenImageIO",
}
_PAGE = "is not an image but a web page: fetch the picture itself"
_STAND_INS = (
    (b"version https://git-lfs", "is not an image but a pointer of Git LFS: run git lfs pull"),
    (b"/annex/objects/", "is not an image but a pointer of git-annex: run git annex get"),
    (b"<!doctype html", _PAGE), (b"<html", _PAGE),
    (b'{"', "is not an image but JSON text, as servers send with an error"),
    (b"data:image/", "is not an image but a data URL (text): decode its base64 part"),
    (b"%pdf-", "is not an image but a PDF: save its pictures as PNG with pdfimages of poppler"),
    (b"\x1f\x8b", "is not an image but a file packed with gzip: unpack it with gunzip"),
    (b"pk\3\4", "is not an image but a ZIP archive: unpack it"),
)  # fmt: skip
# Brands of an ISO media file whose first item is a still picture; films have others.
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS |= {b"mif1", b"mif2", b"msf1", b"jpeg", b"avci", b"vvic"}
_AVIF_BRANDS = {b"avif", b"avis"}
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS\0", "Photoshop"), (b"gimp xcf ", "GIMP"), (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"), (b"#?RGBE", "Radiance HDR"), (b"DDS ", "DDS"),
    (b"\0\0\x01\0", "icon"), (b"icns", "icon"), (b"qoif", "QOI"), (b"\xabKTX 20\xbb", "KTX"),
    (b"FUJIFILMCCD-RAW", RAW), (b"IIRO", RAW), (b"IIRS", RAW), (b"MMOR", RAW), (b"IIU\0", RAW),
    (b"FOVb", RAW), (b"\0MRM", RAW), (b"II\x1a\0\0\0HEAPCCDR", RAW),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
)  # fmt: skip
_ANY_START = tuple(start for start, _ in _STARTS)
_PNM = re.compile(rb"P[1-6]\s+(#.*\s+)?\d+\s")
_SVG = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg|<svg[\s>])", re.DOTALL)
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_DNG_VERSION, _SUBFILE, _SUB_IFDS = 50706, 254, 330
_lock = threading.Lock()


def kind_of(data: bytes, name: str = "") -> str | None:
    """The kind of image that a file with these first bytes (`HEAD_BYTES`) is, None for no image.

    `name` is needed for a camera's raw file, which begins as a TIFF does.
    """
    if data[4:8] == b"ftyp":
        return _kind_of_media(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM":
        return "BMP" if int.from_bytes(data[14:18], "little") in _BMP_HEADERS else None
    if data.startswith(_ANY_START):  # most files that are looked at are text
        kind = next(kind for start, kind in _STARTS if data.startswith(start))
        camera = data[8:10] == b"CR" or Path(name).suffix.lower() in RAW_SUFFIXES
        return RAW if kind == "TIFF" and camera else kind
    if _PNM.match(data):
        return "PPM"
    return "SVG" if _SVG.match(data) else None


def reason_not_read(data: bytes, name: str = "") -> str | None:
    """Why a file of a known kind is not read here, and what reads it; None for all others."""
    kind = kind_of(data, name) or _kind_of_name(name)
    if kind is None or kind in readable_formats(data):
        return None
    if kind in _REASONS:
        return _REASONS[kind]
    return f"is {named(kind)}, which is not read; save it as PNG with magick of ImageMagick"


def stand_in(data: bytes) -> str:
    """Says what a file that is no image holds instead, and what to do; "" if unknown."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if reason := next((why for begins, why in _STAND_INS if start.startswith(begins)), ""):
        return reason
    return "" if data.strip(b"\0") else "holds nothing but zero bytes: copy or recover it again"


def named(kind: str) -> str:
    """A kind with its article, as in `an AVIF file`."""
    return f"{'an' if kind[0] in 'AIOaio' else 'a'} {kind} file"


def is_camera_raw(tags: Mapping[int, object]) -> bool:
    """Whether the TIFF tags of a first picture say that it is the preview in a camera's raw file.

    DNG, NEF, ARW and others are TIFF files whose first picture is a thumbnail.
    """
    subfile = tags.get(_SUBFILE, 0)
    reduced = isinstance(subfile, int) and bool(subfile & 1)
    return _DNG_VERSION in tags or (reduced and _SUB_IFDS in tags)


def readable_formats(data: bytes = b"") -> tuple[str, ...]:
    """Pillow's names of the formats that are read; HEIF only for such `data`, by pillow-heif."""
    avif = ("AVIF",) if features.check("avif") else ()
    heif = ("HEIF",) if kind_of(data) == "HEIF" and _heif_opens() else ()
    return ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", *avif, *heif)


def _heif_opens() -> bool:
    if find_spec("pillow_heif") is None:
        return False
    with _lock:  # several threads decode
        try:
            import pillow_heif
        except ImportError:  # it is there, but not for this system
            return False
        pillow_heif.register_heif_opener(thumbnails=False, depth_images=False)
    return True


def _kind_of_media(data: bytes) -> str | None:
    """HEIF, AVIF or a camera's CR3 by the brands of an ISO media file; None for a film."""
    size = int.from_bytes(data[:4], "big")
    major, rest = data[8:12], data[16 : min(size, len(data))]
    brands = {major, *(rest[i : i + 4] for i in range(0, len(rest), 4))}
    if major == b"crx ":
        return RAW
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if major == b"jxl ":
        return "JPEG XL"
    return "HEIF" if brands & _HEIF_BRANDS else None


def _kind_of_name(name: str) -> str | None:
    suffix = Path(name).suffix.lower()
    return RAW if suffix in RAW_SUFFIXES else _OTHER_SUFFIXES.get(suffix)
