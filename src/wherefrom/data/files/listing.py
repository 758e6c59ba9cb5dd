"""Which files below folders are images: links are followed, and nothing is left out in silence.

A listing holds every file that a person would expect to be read, readable or not, because the
reader of a file says why it cannot be used: a HEIC file without its library, a link whose target is
gone, and also a folder that cannot be opened.  All other files are counted.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wherefrom.core.paths import is_empty_lost_and_found, is_system_name
from wherefrom.data.files.kinds import HEAD_BYTES, IMAGE_SUFFIXES, kind_of

# Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
MAX_NAMED = 4  # suffixes in a note


@dataclass(frozen=True)
class Listing:
    """What lies below some folders.

    `images`: by folder, sorted; what cannot be read is among them.  `others`: files that are no
    image, counted by suffix.  `repeated`: links to what is listed under another name.  `hidden`:
    names that begin with a dot, without those that operating systems make.
    """

    images: tuple[tuple[Path, ...], ...]
    others: Counter[str]
    repeated: tuple[int, ...]
    hidden: int

    def note(self) -> str:
        """What was passed over, as one sentence; empty if nothing was."""
        links = sum(self.repeated)
        parts = [
            _count(self.others.total(), "other file") + f" ({self._suffixes()})"
            if self.others
            else "",
            _count(links, "link") + " to what is listed already" if links else "",
            _count(self.hidden, "hidden name") if self.hidden else "",
        ]
        said = ", ".join(part for part in parts if part)
        return f"not read as images: {said}" if said else ""

    def _suffixes(self) -> str:
        ordered = sorted(self.others.items(), key=lambda pair: (-pair[1], pair[0]))
        rest = sum(count for _, count in ordered[MAX_NAMED:])
        named = [f"{count} {suffix or 'without suffix'}" for suffix, count in ordered[:MAX_NAMED]]
        return ", ".join(named + ([f"{rest} more"] if rest else []))


def list_below(folders: Sequence[Path], *, once: bool = False) -> Listing:
    """What lies below each folder, links to files and folders followed.

    A folder is entered once, however many links lead to it or back to it, and first by its own
    name.  With `once` a link to a file that is listed anyway is not listed again.  Nothing is an
    error.
    """
    walk = _Walk([[] for _ in folders], [0] * len(folders), once)
    walk.roots = [(place, folder) for place, folder in enumerate(folders)]
    walk.all()
    return Listing(
        tuple(tuple(sorted(files, key=lambda path: path.parts)) for files in walk.images),
        walk.others,
        tuple(walk.repeated),
        walk.hidden,
    )


@dataclass
class _Walk:
    """A listing while it grows; numbers are places in the folders that were given."""

    images: list[list[Path]]
    repeated: list[int]
    once: bool
    roots: list[tuple[int, Path]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    folder_links: list[tuple[int, Path]] = field(default_factory=list)
    file_links: list[tuple[int, Path]] = field(default_factory=list)
    entered: set[object] = field(default_factory=set)

    def all(self) -> None:
        """Folders by their own names first, then by way of links, then links to files."""
        for place, root in self.roots:
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
        """Whether this is a folder to walk through now; everything else is put where it belongs."""
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
    """Whether the first bytes are those of an image; a file without suffix that is closed, too."""
    try:  # of all files that are no image by name, so without the cost of a file object
        handle = os.open(path, _FLAGS)
    except OSError:
        return not path.suffix
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        return kind_of(os.read(handle, HEAD_BYTES)) is not None
    except OSError:
        return not path.suffix
    finally:
        os.close(handle)


def _identity(path: Path) -> object:
    """What is the same for all names of one file: device and inode, or else the path resolved."""
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
