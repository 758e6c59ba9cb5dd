"""The paths of the pictures of an open index, and the folders that were added."""

# pathlib takes no bytes, and not every path is text.
# ruff: noqa: PTH120
from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from wherefrom.origin.index.manifest import Manifest, Relocation
from wherefrom.origin.index.places import (
    Moves,
    absolute_folder,
    absolute_names,
    below_roots,
    moved_along,
    samples_of,
)


class Pictures:
    """The paths of an index's pictures, which follow folders that have moved."""

    def __init__(self, manifest: Manifest) -> None:
        """Paths as they are stored; `follow` looks whether folders have moved."""
        self._manifest = manifest
        self.moves = Moves()

    def follow(
        self, roots: Sequence[str | os.PathLike[str]] = (), *, writable: bool = False
    ) -> None:
        """Look where the pictures lie if the index has moved, or where `roots` hold them now.

        What moved together with the index is stored if `writable`.  What lies below a root is
        known to this object only, until `relocate` stores it.  A root that holds no picture is an
        `InputError`.
        """
        here = absolute_folder(self._manifest.folder)
        if self._manifest.home != here:
            folders = samples_of(self._manifest.live_images())
            self.moves = moved_along(folders, self._manifest.home, here)
            if writable:
                self.relocate({}, ())
        if roots:
            self.moves = self._with(below_roots(samples_of(self.images()), roots))

    def images(self) -> list[tuple[int, bytes, str]]:
        """(id, path now, digest) of all images, in order of id."""
        images = self._manifest.live_images()
        if not self.moves.folders:
            return images
        return [(image, self.moves.current(path), digest) for image, path, digest in images]

    def current(self, stored: bytes) -> str:
        """Where the picture with a stored path is now."""
        return os.fsdecode(self.moves.current(stored))

    def find(self, paths: Sequence[str | os.PathLike[str]]) -> tuple[int | None, ...]:
        """The id of the image at each path, None where there is none."""
        names = absolute_names(paths)
        candidates = [[*self.moves.stored(name), name] for name in names]
        there = self._manifest.live_paths({name for some in candidates for name in some})
        ids = ([there[name][0] for name in some if name in there] for some in candidates)
        return tuple(next(iter(some), None) for some in ids)

    def folders(self) -> list[bytes]:
        """The folders that were given to be added, where they are now."""
        noted = self._manifest.noted_paths("folders")
        return list(dict.fromkeys(self.moves.current_folder(folder) for folder in noted))

    def note_folders(self, folders: Sequence[str | os.PathLike[str]]) -> None:
        """Store that these folders were given to be added."""
        known = set(self._manifest.noted_paths("folders"))
        fresh = {absolute_folder(folder) for folder in folders} - known
        if fresh:
            self._manifest.note_folders(sorted(fresh))

    def removed(self) -> list[bytes]:
        """The paths of pictures that were removed by hand and not added again.

        One whose folder holds no other picture of the index is named where it was, and where it
        would be now if its folder went along with the one above.
        """
        noted = self._manifest.noted_paths("removed")
        return list(dict.fromkeys(path for removed in noted for path in self.moves.either(removed)))

    def stored_paths(self) -> dict[int, bytes]:
        """The stored paths of all images by id, wherever the pictures are now."""
        return {image: path for image, path, _ in self._manifest.live_images()}

    def current_paths(self) -> dict[int, bytes]:
        """The paths of all images by id as they are now."""
        return {image: path for image, path, _ in self.images()}

    def refuse_reader(self) -> None:
        """An `InputError` unless the index was opened for writing."""
        self._manifest.refuse_reader()

    def forget_folders(self, folders: Collection[bytes]) -> None:
        """Remove these folders from those that were given."""
        if folders:
            self._commit({}, (), [path for path in self.folders() if path not in folders])

    def relocate(self, paths: Mapping[int, bytes], gone: Sequence[int]) -> None:
        """Store where all pictures lie now, `paths` by id besides; those `gone` are deleted.

        A path that two pictures would have stays with the one that had it.
        """
        dropped = set(gone)
        by_id = {image: path for image, path in self.stored_paths().items() if image not in dropped}
        wanted = {
            image: paths.get(image, self.moves.current(path)) for image, path in by_id.items()
        }
        moved = {image: path for image, path in wanted.items() if path != by_id[image]}
        while clashing := _clashing(moved, by_id):
            moved = {image: path for image, path in moved.items() if image not in clashing}
        self._commit(moved, sorted(dropped), self.folders())

    def _commit(
        self, moved: Mapping[int, bytes], gone: Sequence[int], folders: Sequence[bytes]
    ) -> None:
        home = absolute_folder(self._manifest.folder)
        self._manifest.relocate(Relocation(home, moved, gone, folders, self.removed()))
        self.moves = Moves()

    def _with(self, later: Moves) -> Moves:
        """The moves known so far, followed by `later` ones."""
        folders = {os.path.dirname(path) for path in self.stored_paths().values()}
        now = {old: self.moves.folders.get(old, old) for old in folders}
        both = {old: later.folders.get(new, new) for old, new in now.items()}
        return Moves({old: new for old, new in both.items() if old != new})


def _clashing(moved: Mapping[int, bytes], stored: Mapping[int, bytes]) -> set[int]:
    """The images among `moved` whose new path another image has, or has got before them."""
    taken = {path for image, path in stored.items() if image not in moved}
    clashing = set()
    for image, path in moved.items():
        if path in taken:
            clashing.add(image)
        taken.add(path)
    return clashing
