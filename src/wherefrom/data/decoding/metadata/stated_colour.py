"""Colour spaces that a file names without a profile: they are noted, and nothing is converted.

PNG specification (third edition), 11.3.2: cICP comes before sRGB, that before gAMA and cHRM.
DCF 2.0: a camera that is set to Adobe RGB states it in EXIF only.
"""

from __future__ import annotations

from PIL import ImageFile

from wherefrom.data.decoding.metadata.exif import exif_bytes, read_fields
from wherefrom.data.decoding.metadata.png_chunks import MAGIC, chunks

_PRIMARIES = {1: "sRGB", 4: "BT.470", 5: "PAL", 6: "NTSC", 9: "BT.2020", 11: "DCI P3"}
_PRIMARIES |= {12: "Display P3"}
_CURVES = {8: "linear", 16: "PQ (HDR)", 18: "HLG (HDR)"}
_SRGB_CURVES = (1, 6, 13, 14, 15)  # so close to sRGB's that no note is needed
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_GAMMA = 1 / 2.2
_SPACE = 0xA001  # EXIF tag
_NOT_SRGB = (2, 0xFFFF)


def named_space(image: ImageFile.ImageFile, data: bytes) -> str:
    """A note on the colour space that an opened file without a profile names; "" for sRGB."""
    space = ""
    if data.startswith(MAGIC):
        space = _of_png(image, data)
    elif isinstance(exif := image.info.get("exif"), bytes):
        stated = read_fields(exif_bytes(exif), {_SPACE}).get(_SPACE)
        space = "Adobe RGB or another, by its EXIF," if stated in _NOT_SRGB else ""
    return f"colour space {space} has no profile in the file, not converted" if space else ""


def _of_png(image: ImageFile.ImageFile, data: bytes) -> str:
    for chunk in chunks(data):
        if chunk.name == b"IDAT":
            break
        if chunk.name == b"cICP" and chunk.last - chunk.first == 4:
            primaries, curve = data[chunk.first], data[chunk.first + 1]
            if primaries == 1 and curve in _SRGB_CURVES:
                return ""
            name = _PRIMARIES.get(primaries, f"number {primaries}")
            return f"{name}{f' {_CURVES[curve]}' if curve in _CURVES else ''} (PNG cICP)"
    if "srgb" in image.info:
        return ""
    corners, gamma = image.info.get("chromaticity"), image.info.get("gamma")
    if isinstance(gamma, float) and abs(gamma - _GAMMA) > 0.02:
        return f"of gamma {gamma:.3g} (PNG gAMA)"
    if isinstance(corners, tuple) and any(
        abs(stated - own) > 0.01 for stated, own in zip(corners, _SRGB, strict=False)
    ):
        return "of other primaries than sRGB (PNG cHRM)"
    return ""
