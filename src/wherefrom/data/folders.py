"""A user's paths as image files, and as one batch: a broken file never stops a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.batches import ImageBatch, Source, Wanted, gather_images
from wherefrom.data.decoding import DEFAULT_LIMITS, Limits
from wherefrom.data.files import read_regular, show_path

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
    | {".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)


def list_images(paths: Sequence[Path]) -> list[Path]:
    """The files as given, and the image files below each folder, sorted; each path once.

    Inside folders, hidden files, other suffixes and links that lead out of the folder are left
    out.  A missing path, an unreadable folder, or one without an image is an `InputError`.
    """
    kinds = " ".join(sorted(SUFFIXES))
    return list_files(
        paths,
        lambda folder: sorted(_walk(folder), key=lambda file: file.parts),
        f"no image in this folder (looked for {kinds})",
    )


def list_files(
    paths: Sequence[Path], inside: Callable[[Path], Sequence[Path]], nothing: str
) -> list[Path]:
    """The files as given, and what `inside` finds in each folder; each path once.

    A missing path, and a folder in which `inside` finds nothing, are an `InputError`.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = inside(path)
            if not files:
                raise InputError(f"{show_path(path)}: {nothing}")
            found.update(dict.fromkeys(files))
        elif os.path.lexists(path):
            found[path] = None
        else:
            raise InputError(f"{show_path(path)}: there is no such file or folder")
    return list(found)


def read_images(
    paths: Sequence[Path],
    *,
    channels: int,
    size: tuple[int, int] | None,
    resize: bool = False,
    at_least: int = 1,
    drop_duplicates: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    track: Track = quiet,
) -> ImageBatch:
    """Read files and folders (`list_images`) into one batch, as `read_files` does."""
    return read_files(
        list_images(paths),
        _name_all(paths),
        Wanted(channels, size, resize, at_least, drop_duplicates, limits),
        track=track,
    )


def read_files(
    files: Sequence[Path], where: str, wanted: Wanted, *, track: Track = quiet
) -> ImageBatch:
    """Read files into one batch of `wanted.size` = (height, width).

    A file that is gone by now is skipped like any other that cannot be read.  With `resize`, images
    are cropped around the centre and scaled; without, an image of another size is skipped with that
    reason.  Without a `size`, the first usable image sets it.  Fewer than `at_least` usable images
    are an `InputError` that quotes the first problem and `where`.
    """
    limit = wanted.limits.max_bytes
    sources = [Source(path, partial(read_regular, path, max_bytes=limit)) for path in files]
    return gather_images(sources, where, wanted, track=track)


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        shown = show_path(Path(error.filename or root))
        raise InputError(f"{shown}: this folder cannot be read: {error.strerror}") from error

    home = root.resolve()
    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in names:
            file = Path(folder) / name
            if name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                continue
            if not file.is_symlink() or _stays_inside(file, home):
                yield file


def _stays_inside(link: Path, home: Path) -> bool:
    try:
        return link.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # a loop of links
        return False


def _name_all(paths: Sequence[Path]) -> str:
    if not paths:
        return "no path given"
    rest = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    first = Path(paths[0])
    return show_path(first) + ("/" if first.is_dir() else "") + rest
