"""Bring an index up to date with its pictures: new, gone, moved and changed ones.

Every picture of the index and of its folders is read, and compared by its content.  Nothing is
written before all of that is done.  Then one transaction stores the new paths of what has moved and
removes what is gone, and pictures that are new or have changed are embedded and added, some at a
time.  If the process is killed at any moment, the index is whole, and the next call does the rest.
"""

# pathlib takes no bytes, and not every path is text.
# ruff: noqa: PTH110, PTH119, PTH120
from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherefrom.core.errors import InputError
from wherefrom.core.paths import entry_names, show_path
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.archives import is_archive
from wherefrom.data.files.opening import SkippedFile, UnusableFile, is_folder
from wherefrom.data.folders import list_images
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.index.pictures import Pictures
from wherefrom.origin.index.places import GONE, absolute_names, digest_now, is_below, missing_now
from wherefrom.origin.searching.result import SyncReport

if TYPE_CHECKING:
    from wherefrom.origin.collection.references import References


@dataclass
class Changes:
    """Differences between an index and its pictures: paths as bytes, by id but for `added`.

    `changed` pictures have another content under their path.  The content of `vanished` ones is
    found nowhere; `gone` are those of them whose path holds nothing, or another image's content.
    """

    added: list[bytes] = field(default_factory=list)
    changed: dict[int, bytes] = field(default_factory=dict)
    moved: dict[int, bytes] = field(default_factory=dict)
    gone: dict[int, bytes] = field(default_factory=dict)
    unchanged: int = 0
    removed: int = 0
    skipped: list[SkippedFile] = field(default_factory=list)


def find_changes(
    references: References, folders: Sequence[Path] = (), *, track: Track = quiet
) -> Changes:
    """Compare the pictures with what they were when they were added; nothing is changed.

    The folders that were given to be added, and `folders`, are searched for pictures.
    """
    changes, pictures = Changes(), references.index.pictures
    images = pictures.images()
    listed = _listed(pictures, folders, changes.skipped)
    taken_out = listed & {*pictures.removed()}
    changes.removed = len(taken_out)
    there = {path: (image, digest) for image, path, digest in images}
    digests = _digests(sorted((listed - taken_out) | there.keys()), changes.skipped, track)
    lost: dict[str, dict[int, bytes]] = defaultdict(dict)  # by content: images not in their place
    for image, path, digest in images:
        if digests.get(path) == digest and there[path][0] == image:
            changes.unchanged += 1
        elif path in digests:
            lost[digest][image] = path
        # What is there and cannot be read is left as it is.
    fresh = {
        path: digest
        for path, digest in digests.items()
        if digest and (path not in there or there[path][1] != digest)
    }
    for path in _without_moved(fresh, lost, changes):
        image, former = there.get(path, (0, ""))
        if image in lost[former]:
            changes.changed[image] = path
            del lost[former][image]
        else:
            changes.added.append(path)
    changes.gone = {image: path for some in lost.values() for image, path in some.items()}
    return changes


def synchronise(
    references: References,
    folders: Sequence[Path] = (),
    *,
    missing_folders: bool = False,
    by: BulkEmbedding = embed_here,
    track: Track = quiet,
) -> SyncReport:
    """Bring the index up to date with its pictures, and with those in `folders`.

    Pictures whose whole folder is not there are an `InputError` unless `missing_folders`: it may
    be on a disk that is not mounted.  What cannot be read is named in `skipped` and stays.
    """
    index, stored = references.index, references.index.pictures.stored_paths()
    index.pictures.refuse_reader()
    changes = find_changes(references, folders, track=track)
    expected = _report(references, changes)
    if not missing_folders:
        _refuse_missing_folders(index.pictures, changes.gone)
    skipped = _apply(references, folders, changes, by=by, track=track)
    index.pictures.forget_folders(_emptied_folders(index.pictures, stored.values()))
    unusable = {str(path) for path, _ in skipped}
    return replace(
        expected,
        added=tuple(path for path in expected.added if path not in unusable),
        changed=tuple(path for path in expected.changed if path not in unusable),
        skipped=(*expected.skipped, *skipped),
        images=index.count(),
        dry_run=False,
    )


def preview(
    references: References, folders: Sequence[Path] = (), *, track: Track = quiet
) -> SyncReport:
    """The report that `synchronise` would give; nothing is changed."""
    return _report(references, find_changes(references, folders, track=track))


def _report(references: References, changes: Changes) -> SyncReport:
    """What writing the changes will come to, if all that is new can be used."""
    index, stored = references.index, references.index.pictures.stored_paths()
    now = index.pictures.current_paths() | changes.moved
    pairs = ((stored[image], now[image]) for image in stored if image not in changes.gone)
    return SyncReport(
        _names(changes.added),
        _names(changes.changed.values()),
        _names(changes.gone.values()),
        tuple(sorted((os.fsdecode(old), os.fsdecode(new)) for old, new in pairs if old != new)),
        changes.unchanged,
        changes.removed,
        tuple(changes.skipped),
        index.count() + len(changes.added) - len(changes.gone),
        dry_run=True,
    )


def _apply(
    references: References,
    folders: Sequence[Path],
    changes: Changes,
    *,
    by: BulkEmbedding,
    track: Track,
) -> tuple[SkippedFile, ...]:
    """Write the changes; returns the new and changed pictures that cannot be used."""
    index = references.index
    gone = index.get([*changes.gone])
    index.relocate(changes.moved, [image.id for image in gone])
    index.pictures.note_folders([path for path in folders if is_folder(path) or is_archive(path)])
    references.hashes.forget_unless_held([image.digest for image in gone], index.copies)
    fresh = [Path(name) for name in _names([*changes.added, *changes.changed.values()])]
    return references.add(fresh, by=by, track=track).skipped if fresh else ()


def _listed(pictures: Pictures, folders: Sequence[Path], skipped: list[SkippedFile]) -> set[bytes]:
    """The images below the folders of the index that can be listed, and below `folders`."""
    given = list_images(folders) if folders else []  # what is given must be there
    usable = [Path(os.fsdecode(folder)) for folder in pictures.folders()]
    try:
        images = list_images(usable)
    except InputError:  # one by one, to name those that are not there or hold nothing
        usable = [folder for folder in usable if _can_be_listed(folder, skipped)]
        images = list_images(usable)
    return set(absolute_names([*images, *given]))


def _can_be_listed(folder: Path, skipped: list[SkippedFile]) -> bool:
    try:
        list_images([folder])
    except InputError as problem:
        reason = problem.reason if isinstance(problem, UnusableFile) else "is not there"
        skipped.append(SkippedFile(folder, reason))
        return False
    return True


def _digests(paths: Sequence[bytes], skipped: list[SkippedFile], track: Track) -> dict[bytes, str]:
    """The digest of each file, "" for one that is not there; without what cannot be read."""
    digests = {}
    for path in track(paths, "reading pictures", total=len(paths)):
        name = os.fsdecode(path)
        try:
            digests[path] = digest_now(Path(name))
        except UnusableFile as problem:
            if missing_now(name) == GONE:
                digests[path] = ""
            else:
                skipped.append(SkippedFile(Path(name), problem.reason))
    return digests


def _without_moved(
    fresh: Mapping[bytes, str], lost: Mapping[str, dict[int, bytes]], changes: Changes
) -> dict[bytes, str]:
    """What is `fresh` (digest by path) without the contents that were `lost`: these have moved.

    Among pictures of one content those of one name belong together, then the order decides.
    """
    rest = dict(fresh)
    for same_name in (True, False):
        for path, digest in list(rest.items()):
            images = lost.get(digest, {})
            fitting = (
                image
                for image, former in images.items()
                if not same_name or os.path.basename(former) == os.path.basename(path)
            )
            image = next(fitting, None)
            if image is not None:
                changes.moved[image] = path
                del images[image], rest[path]
    return rest


def _refuse_missing_folders(pictures: Pictures, gone: Mapping[int, bytes]) -> None:
    """An `InputError` if pictures are gone with their whole folder."""
    folders = sorted(pictures.folders(), key=len, reverse=True)
    counts: Counter[bytes] = Counter()
    for path in gone.values():
        within = (folder for folder in folders if is_below(path, folder))
        counts[next(within, os.path.dirname(path))] += 1
    for folder, count in counts.items():
        if not _has_entries(Path(os.fsdecode(folder))):
            raise InputError(
                f"{show_path(Path(os.fsdecode(folder)))} is not there or empty, with {count} of "
                "the pictures of the index, so nothing was changed; if it is on a disk, connect "
                "it; if the pictures are elsewhere now, give that folder, or --root; if they are "
                "to be forgotten, pass --missing-folders"
            )


def _has_entries(folder: Path) -> bool:
    try:
        return is_archive(folder) or bool(entry_names(folder))
    except OSError:
        return False


def _emptied_folders(pictures: Pictures, stored: Iterable[bytes]) -> set[bytes]:
    """Folders that no longer exist and of whose pictures the index has none there any more."""
    closed = [f for f in pictures.folders() if not os.path.exists(f)]
    before, now = [*stored], [*pictures.stored_paths().values()]
    return {
        folder
        for folder in closed
        if any(is_below(path, folder) for path in before)
        and not any(is_below(path, folder) for path in now)
    }


def _names(paths: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(os.fsdecode(path) for path in sorted(paths))
