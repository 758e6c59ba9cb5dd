"""Images that are added to a folder of references, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.archives import is_archive
from wherefrom.data.files.opening import is_folder
from wherefrom.data.folders import list_images
from wherefrom.encoders.bulk import BulkEmbedding, embed_here
from wherefrom.origin.searching.copies import PictureHash, hash_picture
from wherefrom.origin.searching.reader import Reader
from wherefrom.origin.searching.result import AddReport

if TYPE_CHECKING:
    from wherefrom.origin.collection.references import References


def add_images(
    references: References,
    paths: Sequence[Path],
    *,
    by: BulkEmbedding = embed_here,
    track: Track = quiet,
) -> AddReport:
    """As `References.add`, which says what it does."""
    files = list_images(paths)
    index = references.index
    index.pictures.note_folders([p for p in paths if is_folder(Path(p)) or is_archive(Path(p))])
    known = dict(zip(files, _known(references, files), strict=True))
    hashed = {d for d in known.values() if d is not None}
    hashed -= references.hashes.missing(sorted(hashed))
    reader = Reader(references.encoder)
    unchanged = 0

    def wanted(path: Path, digest: str) -> bool:
        nonlocal unchanged
        unchanged += known[path] == digest
        return known[path] != digest or digest not in hashed

    def batches() -> Iterator[tuple[tuple[dict[Path, str], dict[str, PictureHash]], Tensor]]:
        progress = track(files, "adding images to the index", total=len(files))
        for some, digests, pictures in reader.images(progress, wanted=wanted):
            hashes = {d: hash_picture(p) for d, p in zip(digests, pictures, strict=True)}
            new = [i for i, path in enumerate(some) if known[path] != digests[i]]
            if new:
                yield ({some[i]: digests[i] for i in new}, hashes), pictures[new]
            else:
                references.hashes.put(hashes)

    added = replaced = duplicates = 0
    project = references.matcher().project
    for (fresh, hashes), rows in by(references.encoder, batches()):
        references.hashes.put(hashes)
        names, digests = [*fresh], [*fresh.values()]
        finite = reader.usable(names, rows)
        if not finite:
            continue
        names, digests = [names[i] for i in finite], [digests[i] for i in finite]
        vectors = project(rows[finite])
        places = reader.usable(names, vectors)
        result = index.add(
            [names[i] for i in places], [digests[i] for i in places], vectors[places]
        )
        added, replaced = added + result.added, replaced + result.replaced
        duplicates += len(result.duplicates)
    skipped = tuple((str(path), reason) for path, reason in reader.skipped)
    return AddReport(added - replaced, unchanged, replaced, duplicates, skipped)


def _known(references: References, files: Sequence[Path]) -> list[str | None]:
    """The digest under which the index holds each file, None where it does not."""
    ids = references.index.find(files)
    images = references.index.get([i for i in ids if i is not None])
    digests = {image.id: image.digest for image in images}
    return [None if i is None else digests[i] for i in ids]
