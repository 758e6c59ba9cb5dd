"""Listing the images below folders, links followed.

A listing holds every file that a person would expect to be read, whether it can be or not: also a
HEIC file without its library, a link to nothing, and a folder that cannot be opened.  Reading them
says why they cannot be used.  All other files are counted.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherefrom.core.paths import (
    is_empty_lost_and_found,
    is_passed_over,
    is_system_name,
    open_descriptor,
    show_path,
)
from wherefrom.core.progress import add_note
from wherefrom.data.files.archives import (
    SUFFIXES,
    Opened,
    has_archive_name,
    is_archive,
    is_file,
    is_inside,
    locate,
    open_archive,
)
from wherefrom.data.files.kinds import HEAD_BYTES, IMAGE_SUFFIXES, kind_of
from wherefrom.data.files.opening import SkippedFile, UnusableFile

MAX_NAMED = 4  # suffixes in a note


@dataclass(frozen=True)
class Listing:
    """The files below some folders.

    `images`: by folder, sorted, including those that cannot be read.  `others`: the number of other
    files by suffix.  `repeated`: by folder, the number of links to files that are listed under
    another name.  `hidden`: the number of names that begin with a dot, system files apart.
    """

    images: tuple[tuple[Path, ...], ...]
    others: Counter[str]
    repeated: tuple[int, ...]
    hidden: int

    def note(self) -> str:
        """One sentence on the files that are not listed; empty if there are none."""
        links = sum(self.repeated)
        parts = [
            _count(self.others.total(), "other file")
            + f" ({', '.join(name_suffixes(self.others))})"
            if self.others
            else "",
            _count(links, "link") + " to what is listed already" if links else "",
            _count(self.hidden, "hidden name") if self.hidden else "",
        ]
        text = ", ".join(part for part in parts if part)
        return f"not read as images: {text}" if text else ""


def name_suffixes(counts: Counter[str]) -> list[str]:
    """How many files have each suffix, as in `3 .txt`; the commonest `MAX_NAMED`, then the rest."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    named = [f"{count} {suffix or 'without suffix'}" for suffix, count in ordered[:MAX_NAMED]]
    rest = sum(count for _, count in ordered[MAX_NAMED:])
    return named + ([f"{rest} more"] if rest else [])


def list_below(folders: Sequence[Path], *, once: bool = False) -> Listing:
    """List the files below each folder, links to files and folders followed; no error is raised.

    A folder is entered once, however many links lead to it or back to it, and first by its own
    name.  With `once` a link to a file that is listed anyway is not listed again.
    """
    walk = _FolderWalk([[] for _ in folders], [0] * len(folders), once)
    walk.run(folders)
    return Listing(
        tuple(tuple(sorted(files, key=lambda path: path.parts)) for files in walk.images),
        walk.others,
        tuple(walk.repeated),
        walk.hidden,
    )


@dataclass
class _FolderWalk:
    """A listing while it grows; `place` is the index of a given folder."""

    images: list[list[Path]]
    repeated: list[int]
    once: bool
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    folder_links: list[tuple[int, Path]] = field(default_factory=list)
    file_links: list[tuple[int, Path]] = field(default_factory=list)
    entered: set[object] = field(default_factory=set)

    def run(self, folders: Sequence[Path]) -> None:
        """Folders by their own names first, then folders behind links, then links to files."""
        for place, root in enumerate(folders):
            self._tree(place, root)
        while self.folder_links:
            self._tree(*self.folder_links.pop(0))
        if not self.file_links:
            return
        listed = {_identity(path) for paths in self.images for path in paths}
        for place, link in sorted(self.file_links):
            target = _identity(link)
            if target in listed:
                self.repeated[place] += 1
            elif self._is_image(link):
                listed.add(target)
                self.images[place].append(link)

    def _tree(self, place: int, root: Path) -> None:
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            identity = _identity(folder)
            if identity in self.entered:
                self.repeated[place] += 1
                continue
            self.entered.add(identity)
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                self.images[place].append(folder)  # reading it says why it cannot be opened
                continue
            waiting += reversed([Path(folder, e.name) for e in names if self._enter(place, e)])

    def _enter(self, place: int, entry: os.DirEntry[str]) -> bool:
        """Whether this is a folder to walk through now; everything else is listed or counted."""
        if is_system_name(entry.name):
            return False
        if entry.name.startswith("."):
            self.hidden += 1
            return False
        path = Path(entry.path)
        if is_empty_lost_and_found(path):
            return False
        if _is_folder(entry):
            if not entry.is_symlink():
                return True
            self.folder_links.append((place, path))
        elif self.once and entry.is_symlink() and _is_there(path):
            self.file_links.append((place, path))
        elif (entry.is_symlink() and not _is_there(path)) or self._is_image(path):
            self.images[place].append(path)
        return False

    def _is_image(self, path: Path) -> bool:
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES or _begins_as_image(path):
            return True
        self.others[suffix] += 1
        return False


def _begins_as_image(path: Path) -> bool:
    """Whether the first bytes are those of an image; true of a file without suffix that is closed.

    This is asked of every file without an image's suffix, so it makes no file object.
    """
    try:
        handle = open_descriptor(path)
    except OSError as error:
        return not path.suffix and error.errno != errno.EINVAL  # EINVAL: a pipe or a device
    try:
        return kind_of(os.read(handle, HEAD_BYTES)) is not None
    except OSError:
        return not path.suffix
    finally:
        os.close(handle)


def _identity(path: Path) -> object:
    """A key that is equal for all names of one file: device and inode, or the resolved path."""
    try:
        status = path.stat()
    except OSError:
        return str(path.absolute())
    if status.st_ino:
        return status.st_dev, status.st_ino
    return os.path.realpath(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _is_there(link: Path) -> bool:
    try:
        link.stat()
    except OSError:
        return False
    return True


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# Labels and captions beside images, as `data.tables.annotations` reads them.
BESIDE = frozenset({".json", ".jsonl", ".csv", ".tsv", ".txt", ".cls", ".caption"})
ARCHIVE_SUFFIXES = frozenset(Path(f"x{suffix}").suffix for suffix in SUFFIXES)  # the last parts


def holds_images(path: Path) -> bool:
    """Whether `path` is an archive, or a file or folder inside one."""
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return False
    return is_archive(path) or (not os.path.lexists(path) and is_inside(path))


def holds_many(path: Path) -> bool:
    """Whether `path` is a folder, an archive, or a folder inside one, and not one file."""
    return path.is_dir() or (holds_images(path) and (path.is_file() or not is_file(path)))


def images_in_archive(path: Path) -> list[Path]:
    """The images of an archive, or below a folder inside it, sorted.

    A damaged archive, and one without an image, are an `UnusableFile`.
    """
    place = locate(path)
    if place is None:
        raise UnusableFile(path, "there is no such file or folder")
    archive, below = place
    opened = open_archive(archive)
    inside = [name for name in opened.names if _is_below(name, below)]
    images = sorted(name for name in inside if _is_image(name, opened))
    note = _note(set(inside).difference(images), () if below else opened.left_out)
    if not images:
        rest = f"; {note}" if note else ""
        raise UnusableFile(path, f"holds no image; expected files such as name.png inside{rest}")
    if note:
        add_note(f"{show_path(path)}: {note}")
    return [archive / name for name in images]


def images_in_archives_below(folder: Path) -> list[Path]:
    """The images of all archives below a folder, as of a series of shards, sorted.

    A damaged archive is listed itself, so that reading it fails; a note says why it cannot be
    opened.
    """
    images: list[Path] = []
    for archive in sorted(_archives_below(folder), key=lambda path: path.parts):
        try:
            images += images_in_archive(archive)
        except UnusableFile as error:
            add_note(str(error))
            images.append(archive)
    return images


def _archives_below(folder: Path) -> list[Path]:
    archives = []
    for home, below, names in os.walk(folder):
        below[:] = [name for name in below if not is_passed_over(name)]
        archives += [
            Path(home, name)
            for name in names
            if not is_passed_over(name) and has_archive_name(Path(name))
        ]
    return archives


def _is_below(name: str, folder: str) -> bool:
    return not folder or name == folder or name.startswith(f"{folder}/")


def _is_image(name: str, opened: Opened) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in BESIDE or has_archive_name(Path(name)):
        return False
    return kind_of(opened.start(name, HEAD_BYTES), name) is not None


def _note(others: set[str], left_out: Sequence[SkippedFile]) -> str:
    """One sentence on the files that are not read; empty if there are none."""
    suffixes = Counter(
        "archive inside" if has_archive_name(Path(name)) else Path(name).suffix.lower()
        for name in others
        if Path(name).suffix.lower() not in BESIDE
    )
    parts = name_suffixes(suffixes)
    for path, reason in left_out[:1]:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        parts.append(f"{show_path(path)} {reason}{more}")
    return f"not read as images: {', '.join(parts)}" if parts else ""
