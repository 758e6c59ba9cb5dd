"""The tables of docs/inputs.md, from the code that reads files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from markdown_tables import load, table

from wherefrom.components.autoencoders import FORMS
from wherefrom.core.limits import BYTES_PER_PIXEL, FULL_PIXELS, MAX_PIXELS, Limits
from wherefrom.data.files import kinds

MIB = 2**20
READ = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "HEIC": (".heic", ".heif", ".hif", ".heics", ".heifs"),
}


def formats_table() -> str:
    """Every kind of image file that is known: its suffixes, and whether it is read."""
    listed = {suffix for suffixes in READ.values() for suffix in suffixes}
    if listed != kinds.READ_SUFFIXES:
        raise ValueError(f"READ lacks or adds {sorted(listed ^ kinds.READ_SUFFIXES)}")
    rows = [[kind, _suffixes(suffixes), "yes"] for kind, suffixes in READ.items()]
    refused: dict[str, list[str]] = defaultdict(list)
    for suffix in sorted(kinds.IMAGE_SUFFIXES - kinds.READ_SUFFIXES):
        reason = kinds.reason_not_read(b"", f"a{suffix}") or ""
        refused[reason].append(suffix)
    for reason, suffixes in refused.items():
        name = reason.removeprefix("is ").split(",")[0].split(" file")[0]
        rows.append([name.split(" ", 1)[1], _suffixes(suffixes), f"no: it {reason}"])
    return table(["kind", "suffixes", "read"], rows)


def limits_table() -> str:
    """The bounds on one image, and what changes them."""
    limits = Limits()
    rows = [
        [
            "pixels",
            f"{limits.max_pixels / 1e6:.0f} million",
            f"`--max-pixels`, of every command that reads images; `{MAX_PIXELS}`",
        ],
        [
            "bytes of a file",
            f"{limits.max_bytes // MIB} MiB",
            f"grows with `--max-pixels`: {BYTES_PER_PIXEL} bytes per pixel",
        ],
        ["pixels on a side", f"{limits.max_side:,}", "not"],
        ["pixels that are read at full size", f"{FULL_PIXELS / 1e6:.0f} million", "not"],
    ]
    return table(["limit", "default", "changed by"], rows)


def autoencoders_table() -> str:
    """Every class of autoencoder that is read, and what it can be used as."""
    rows = [
        [
            name,
            "yes, an image is one frame" if form.frames else "yes",
            "yes" if form.decodes else "no: its decoder draws noise at every call",
        ]
        for name, form in FORMS.items()
    ]
    head = ["class", "encoder (origin)", "generator (attribution), `latent` (credit)"]
    return table(head, rows)


def reading_table() -> str:
    """Memory and seconds of reading large images and a large folder."""
    rows = [
        [row["input"], f"{row['start']}", f"{row['peak']}", f"{row['seconds']:g}"]
        for row in load("reading")["rows"]
    ]
    return table(["input", "MiB before", "MiB at most", "seconds"], rows)


def _suffixes(suffixes: Iterable[str]) -> str:
    return " ".join(f"`{suffix}`" for suffix in suffixes)


TABLES = {
    "inputs_formats": formats_table,
    "inputs_limits": limits_table,
    "inputs_reading": reading_table,
    "inputs_autoencoders": autoencoders_table,
}
