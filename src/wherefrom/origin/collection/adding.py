"""Add images to an index and hash them, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.archives import is_archive
from wherefrom.data.files.opening import is_folder
from wherefrom.data.folders import list_images
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.index.index import Index
from wherefrom.origin.searching.copies import CopyHashes, PictureHash, hash_picture
from wherefrom.origin.searching.matching import Matcher
from wherefrom.origin.searching.reader import Reader
from wherefrom.origin.searching.result import AddReport


def add_images(
    matcher: Matcher,
    hashes: CopyHashes,
    paths: Sequence[Path],
    *,
    by: BulkEmbedding = embed_here,
    track: Track = quiet,
) -> AddReport:
    """Add files and folders to the index of `matcher`, and their perceptual hashes to `hashes`.

    The rest is as in `References.add`.
    """
    files = list_images(paths)
    index = matcher.index
    index.pictures.note_folders([p for p in paths if is_folder(Path(p)) or is_archive(Path(p))])
    known = dict(zip(files, _known(index, files), strict=True))
    hashed = {d for d in known.values() if d is not None}
    hashed -= hashes.missing(sorted(hashed))
    reader = Reader(matcher.encoder)
    unchanged = 0

    def wanted(path: Path, digest: str) -> bool:
        nonlocal unchanged
        unchanged += known[path] == digest
        return known[path] != digest or digest not in hashed

    def batches() -> Iterator[tuple[tuple[dict[Path, str], dict[str, PictureHash]], Tensor]]:
        progress = track(files, "adding images to the index", total=len(files))
        for some, digests, pictures in reader.images(progress, wanted=wanted):
            fresh_hashes = {d: hash_picture(p) for d, p in zip(digests, pictures, strict=True)}
            new = [i for i, path in enumerate(some) if known[path] != digests[i]]
            if new:
                yield ({some[i]: digests[i] for i in new}, fresh_hashes), pictures[new]
            else:
                hashes.put(fresh_hashes)

    added = replaced = duplicates = 0
    for (fresh, fresh_hashes), rows in by(matcher.rows, batches()):
        hashes.put(fresh_hashes)
        names, digests = [*fresh], [*fresh.values()]
        finite = reader.usable(names, rows)
        if not finite:
            continue
        names, digests = [names[i] for i in finite], [digests[i] for i in finite]
        vectors = matcher.rows.project(rows[finite])
        places = reader.usable(names, vectors)
        result = index.add(
            [names[i] for i in places], [digests[i] for i in places], vectors[places]
        )
        added, replaced = added + result.added, replaced + result.replaced
        duplicates += len(result.duplicates)
    return AddReport(added - replaced, unchanged, replaced, duplicates, tuple(reader.skipped))


def _known(index: Index, files: Sequence[Path]) -> list[str | None]:
    """The digest under which the index holds each file, None where it does not."""
    ids = index.find(files)
    images = index.get([i for i in ids if i is not None])
    digests = {image.id: image.digest for image in images}
    return [None if i is None else digests[i] for i in ids]
