"""Sorting files into new folders by links or copies, all of them or none."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wherefrom.core.errors import InputError
from wherefrom.core.paths import show_path
from wherefrom.core.saving.store import DISK_ERRORS, scratch_beside
from wherefrom.data.files.archives import is_file, read_file

MAX_MEMBER_BYTES = 2**30


def part_files(
    parts: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    notes: Mapping[str, str] | None = None,
    copy: bool = False,
) -> None:
    """Link the files of each part into the folder `out`/<part>; an empty part gets an empty one.

    `out` must be new.  Files of one name in one part get their number in front.  `notes` are texts
    by name, written beside the parts.  With `copy` the files are copied; files of archives always
    are.
    """
    try:
        with scratch_beside(out) as scratch:
            for part, files in parts.items():
                (scratch / part).mkdir()
                for source, name in zip(files, _names(files), strict=True):
                    target = scratch / part / name
                    if not source.exists() and is_file(source):  # no link leads into an archive
                        target.write_bytes(read_file(source, max_bytes=MAX_MEMBER_BYTES))
                    elif copy:
                        shutil.copyfile(source.resolve(), target)
                    else:
                        _link(target, source.resolve())
            for name, text in (notes or {}).items():
                (scratch / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write {show_path(out)}: {error.strerror or error}") from error


def _link(link: Path, target: Path) -> None:
    try:
        link.symlink_to(target)
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", None) in DISK_ERRORS:
            raise
        raise InputError(
            f"{show_path(link.parent.parent.parent)} lies where no links can be made (as on FAT, "
            "some network drives, and Windows without the right to); pass --copy to copy the files"
        ) from error


def _names(files: Sequence[Path]) -> Iterator[str]:
    often = Counter(file.name.lower() for file in files)
    for place, file in enumerate(files, start=1):
        yield file.name if often[file.name.lower()] == 1 else f"{place:06d}-{file.name}"
