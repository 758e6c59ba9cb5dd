"""Listing the images below files, folders and archives, and reading them into one batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.limits import Limits, limits_in_force
from wherefrom.core.paths import is_empty_lost_and_found, is_passed_over, show_path
from wherefrom.core.progress import Track, add_note, quiet
from wherefrom.data.batches import BatchOptions, ImageBatch, read_files
from wherefrom.data.files.listing import (
    ARCHIVE_SUFFIXES,
    holds_images,
    images_in_archive,
    images_in_archives_below,
    list_below,
)
from wherefrom.data.files.opening import UnusableFile, is_folder, why_closed


def list_images(paths: Sequence[Path], *, once: bool = False) -> list[Path]:
    """The given files, and the images below each folder or archive, sorted; each path once.

    Links to files and folders are followed; a folder is entered once, however many links lead to
    it.  With `once`, which is for statistics of a set, a link inside a folder to a file that is
    listed under its own name is not listed again.

    What is an image by its suffix or its first bytes is listed, readable or not, and so are a link
    to nothing and a folder inside that cannot be opened: reading them says why they cannot be used.
    Other files are counted in a note (`core.progress`); hidden files and what operating systems put
    into folders are passed over.  A missing path, a given folder that cannot be opened, or one
    without an image is an `InputError`.
    """
    given = [Path(path) for path in paths]
    folders = [path for path in dict.fromkeys(given) if is_folder(path)]
    listing = list_below(folders, once=once)
    by_folder = dict(zip(folders, listing.images, strict=True))
    repeated = dict(zip(folders, listing.repeated, strict=True))

    def inside(folder: Path) -> Sequence[Path]:
        if folder not in by_folder:
            return images_in_archive(folder)
        images = by_folder[folder]
        if not images and (packed := images_in_archives_below(folder)):
            for suffix in ARCHIVE_SUFFIXES:
                listing.others.pop(suffix, None)
            return packed
        if images == (folder,):
            raise UnusableFile(folder, why_closed(folder))
        if not images and not repeated[folder]:
            rest = f"; {note}" if (note := listing.note()) else ""
            raise UnusableFile(folder, f"no image in this folder{rest}")
        return images

    files = list_files(given, inside, is_folder=lambda path: is_folder(path) or holds_images(path))
    if note := listing.note():
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        add_note(f"{show_path(folders[0])}{more}: {note}")
    return files


def list_files(
    paths: Sequence[Path],
    inside: Callable[[Path], Sequence[Path]],
    nothing: str = "",
    *,
    is_folder: Callable[[Path], bool] = is_folder,
) -> list[Path]:
    """The given files, and those that `inside` lists of each folder; each path once.

    A missing path is an `InputError`; with `nothing`, the message, so is a folder without a file.
    """
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        if is_folder(path):
            held = inside(path)
            if nothing and not held:
                raise InputError(f"{show_path(path)}: {nothing}")
            files.update(dict.fromkeys(held))
        elif os.path.lexists(path):
            files[path] = None
        else:
            raise InputError(f"{show_path(path)}: there is no such file or folder")
    return list(files)


def subfolders(root: Path) -> list[Path]:
    """The folders directly inside `root`, and links to folders, sorted by name.

    Hidden ones, and those that operating systems make, are left out.  An `InputError` if `root`
    cannot be opened.
    """
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UnusableFile(root, why_closed(root)) from error
    return [
        path
        for path in entries
        if is_folder(path) and not is_passed_over(path.name) and not is_empty_lost_and_found(path)
    ]


def read_images(
    paths: Sequence[Path],
    *,
    channels: int,
    size: tuple[int, int] | None,
    resize: bool = False,
    at_least: int = 1,
    drop_duplicates: bool = True,
    limits: Limits | None = None,
    track: Track = quiet,
) -> ImageBatch:
    """Read files and folders (`list_images`) into one batch, as `read_files` does."""
    return read_files(
        list_images(paths),
        _name_all(paths),
        BatchOptions(
            channels, size, resize, at_least, drop_duplicates, limits or limits_in_force()
        ),
        track=track,
    )


def _name_all(paths: Sequence[Path]) -> str:
    if not paths:
        return "no path given"
    rest = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    first = Path(paths[0])
    return show_path(first) + ("/" if first.is_dir() else "") + rest
