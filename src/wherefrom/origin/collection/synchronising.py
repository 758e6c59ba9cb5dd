"""An index is brought up to date with its pictures: what is new, gone, moved or changed.

Every picture of the index and of its folders is read, and compared by its content.  Nothing is
written before all of that is done.  Then one transaction keeps what has moved and forgets what is
gone, and pictures that are new or have changed are embedded and added, some at a time.  Killed at
any moment, the index is whole, and the next call does the rest.
"""

# pathlib takes no bytes, and not every path is text.
# ruff: noqa: PTH110, PTH119, PTH120
from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wherefrom.core.errors import InputError
from wherefrom.core.paths import entry_names
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.archives import is_archive
from wherefrom.data.files.opening import UnusableFile, is_folder, show_path
from wherefrom.data.folders import list_images
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.index.pictures import Pictures
from wherefrom.origin.index.places import GONE, absolute_names, digest_now, is_below, missing_now
from wherefrom.origin.searching.result import SyncReport

if TYPE_CHECKING:
    from wherefrom.origin.collection.references import References

Skipped = list[tuple[str, str]]


@dataclass
class Findings:
    """What is different; paths as bytes, by the id of the image but for `added`.

    `changed` pictures have another content under their path.  The content of `vanished` ones is
    found nowhere; `gone` are those of them whose path holds nothing, or another image's content.
    """

    added: list[bytes] = field(default_factory=list)
    changed: dict[int, bytes] = field(default_factory=dict)
    moved: dict[int, bytes] = field(default_factory=dict)
    gone: dict[int, bytes] = field(default_factory=dict)
    unchanged: int = 0
    removed: int = 0
    skipped: Skipped = field(default_factory=list)


def find_changes(
    references: References, folders: Sequence[Path] = (), *, track: Track = quiet
) -> Findings:
    """What is different from when the pictures were added; nothing is changed.

    Looked through are the folders that were given to be added, and further `folders`.
    """
    changes, pictures = Findings(), references.index.pictures
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
    """Bring the index up to date with its pictures, and with those of further `folders`.

    Pictures whose whole folder is not there are an `InputError` unless `missing_folders`: it may
    be on a disk that is not mounted.  What cannot be read is named in `skipped` and stays.
    """
    index, kept = references.index, references.index.pictures.kept()
    index.pictures.refuse_reader()
    changes = find_changes(references, folders, track=track)
    moved = _moved(index.pictures, kept, changes)
    if not missing_folders:
        _refuse_missing_folders(index.pictures, changes.gone)
    skipped = _apply(references, folders, changes, by=by, track=track)
    index.pictures.forget_folders(_left(index.pictures, kept.values()))
    unusable = {path for path, _ in skipped}
    return SyncReport(
        tuple(path for path in _names(changes.added) if path not in unusable),
        tuple(path for path in _names(changes.changed.values()) if path not in unusable),
        _names(changes.gone.values()),
        moved,
        changes.unchanged,
        changes.removed,
        (*changes.skipped, *skipped),
        index.count(),
        dry_run=False,
    )


def preview(
    references: References, folders: Sequence[Path] = (), *, track: Track = quiet
) -> SyncReport:
    """What `synchronise` would find and do; nothing is changed."""
    index, kept = references.index, references.index.pictures.kept()
    changes = find_changes(references, folders, track=track)
    return SyncReport(
        _names(changes.added),
        _names(changes.changed.values()),
        _names(changes.gone.values()),
        _moved(index.pictures, kept, changes),
        changes.unchanged,
        changes.removed,
        tuple(changes.skipped),
        index.count() + len(changes.added) - len(changes.gone),
        dry_run=True,
    )


def _moved(
    pictures: Pictures, kept: Mapping[int, bytes], changes: Findings
) -> tuple[tuple[str, str], ...]:
    """The kept and the new path of every picture that is elsewhere now."""
    now = pictures.current_paths() | changes.moved
    pairs = ((kept[image], now[image]) for image in kept if image not in changes.gone)
    return tuple(sorted((os.fsdecode(old), os.fsdecode(new)) for old, new in pairs if old != new))


def _apply(
    references: References,
    folders: Sequence[Path],
    changes: Findings,
    *,
    by: BulkEmbedding,
    track: Track,
) -> tuple[tuple[str, str], ...]:
    """Write what was found; path and reason of new and changed pictures that cannot be used."""
    index = references.index
    gone = index.get([*changes.gone])
    index.relocate(changes.moved, [image.id for image in gone])
    index.pictures.note_folders([path for path in folders if is_folder(path) or is_archive(path)])
    references.hashes.forget_unless_held([image.digest for image in gone], index.copies)
    fresh = [Path(name) for name in _names([*changes.added, *changes.changed.values()])]
    return references.add(fresh, by=by, track=track).skipped if fresh else ()


def _listed(pictures: Pictures, folders: Sequence[Path], skipped: Skipped) -> set[bytes]:
    """The images below the folders of the index that can be listed, and below `folders`."""
    given = list_images(folders) if folders else []  # what is given must be there
    usable = [Path(os.fsdecode(folder)) for folder in pictures.folders()]
    try:
        images = list_images(usable)
    except InputError:  # one by one, to name those that are not there or hold nothing
        usable = [folder for folder in usable if _can_be_listed(folder, skipped)]
        images = list_images(usable)
    return set(absolute_names([*images, *given]))


def _can_be_listed(folder: Path, skipped: Skipped) -> bool:
    try:
        list_images([folder])
    except InputError as problem:
        reason = problem.reason if isinstance(problem, UnusableFile) else "is not there"
        skipped.append((str(folder), reason))
        return False
    return True


def _digests(paths: Sequence[bytes], skipped: Skipped, track: Track) -> dict[bytes, str]:
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
                skipped.append((name, problem.reason))
    return digests


def _without_moved(
    fresh: Mapping[bytes, str], lost: Mapping[str, dict[int, bytes]], changes: Findings
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


def _left(pictures: Pictures, kept: Iterable[bytes]) -> set[bytes]:
    """Folders that are not there any more and whose pictures have all left them."""
    closed = [f for f in pictures.folders() if not os.path.exists(f)]
    before, now = [*kept], [*pictures.kept().values()]
    return {
        folder
        for folder in closed
        if any(is_below(path, folder) for path in before)
        and not any(is_below(path, folder) for path in now)
    }


def _names(paths: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(os.fsdecode(path) for path in sorted(paths))
