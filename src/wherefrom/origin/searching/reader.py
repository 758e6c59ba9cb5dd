"""Image files as embeddings, a few at a time: memory does not grow with the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.contents import content_of, content_set
from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.images import read_image
from wherefrom.data.writing import to_float
from wherefrom.encoders import Encoder, prepare
from wherefrom.origin.pairs.manifest import PairsManifest

CHUNK = 64
NOT_FINITE = (
    "the encoder gives NaN or infinity for it, so it cannot be compared; leave it out, or use "
    "another encoder"
)
NO_DIRECTION = (
    "its embedding is all zeros, so it cannot be compared; leave it out, or use another encoder"
)


def faults(rows: Tensor) -> list[str]:
    """Why each of the embeddings (N, ...) cannot be compared, "" for one that can.

    One that holds NaN or infinity, or is all zeros, has no cosine with any other.
    """
    flat = rows.flatten(1)
    finite, has_direction = flat.isfinite().all(dim=1).tolist(), (flat != 0).any(dim=1).tolist()
    return [
        "" if a and b else NO_DIRECTION if a else NOT_FINITE
        for a, b in zip(finite, has_direction, strict=True)
    ]


@dataclass(eq=False)
class Reader:
    """Reads and embeds files; the ones it cannot use gather in `skipped`, with the reason."""

    encoder: Encoder
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    contents: dict[Path, int] | None = None  # `core.contents` by path, where they are asked for

    def usable(self, paths: Sequence[Path], rows: Tensor) -> list[int]:
        """Places of the embeddings (N, ...) that can be compared; the others' paths are skipped."""
        reasons = faults(rows)
        self.skipped += [(p, why) for p, why in zip(paths, reasons, strict=True) if why]
        return [place for place, why in enumerate(reasons) if not why]

    def images(
        self, paths: Iterable[Path], *, wanted: Callable[[Path, str], bool] = lambda *_: True
    ) -> Iterator[tuple[list[Path], list[str], Tensor]]:
        """Paths, digests and pictures (n, 3, 256, 256), n at most 64.

        A file is decoded only once, and kept only if it is `wanted` by its path and digest.
        """
        held: list[tuple[Path, str, Tensor]] = []
        for path in paths:
            try:
                image = read_image(path, channels=3)
            except UnusableFile as problem:
                self.skipped.append((path, problem.reason))
                continue
            if self.contents is not None:
                self.contents[path] = content_of(image.pixels)
            if wanted(path, image.digest):
                held.append((path, image.digest, prepare(to_float(image.pixels[None]))))
            if len(held) == CHUNK:
                yield _columns(held)
                held = []
        if held:
            yield _columns(held)

    def chunks(self, paths: Iterable[Path]) -> Iterator[tuple[list[Path], list[str], Tensor]]:
        """Paths, digests and embeddings (n, D), n at most 64, of files that can be compared."""
        for some, digests, pictures in self.images(paths):
            rows = self.encoder.embed(pictures)
            places = self.usable(some, rows)
            if places:
                yield [some[i] for i in places], [digests[i] for i in places], rows[places]

    def embed(self, paths: Iterable[Path]) -> tuple[list[Path], list[str], Tensor]:
        """All usable files at once: paths, digests, embeddings (N, D)."""
        found = list(self.chunks(paths))
        if not found:
            return [], [], torch.zeros(0, self.encoder.dimension)
        names = [name for some, _, _ in found for name in some]
        digests = [digest for _, some, _ in found for digest in some]
        return names, digests, torch.cat([rows for _, _, rows in found])


def _columns(held: list[tuple[Path, str, Tensor]]) -> tuple[list[Path], list[str], Tensor]:
    paths, digests, pictures = zip(*held, strict=True)
    return list(paths), list(digests), torch.cat(pictures)


@dataclass(frozen=True, eq=False)
class EmbeddedPairs:
    """What `fit_edit_map` takes: origins (N, D), edits (M, D), and whose each edit is (M,).

    `seen`: `core.contents` of all these images, sorted int64.
    """

    origins: Tensor
    edits: Tensor
    owner: Tensor
    skipped: tuple[tuple[str, str], ...]
    seen: Tensor


def embed_pairs(
    manifest: PairsManifest, encoder: Encoder, *, track: Track = quiet
) -> EmbeddedPairs:
    """Embed every origin and every edit; an edit counts only if both could be read."""
    reader = Reader(encoder, contents={})
    everything = [*manifest.origins, *manifest.edits]
    paths, _, rows = reader.embed(track(everything, "embedding pairs", total=len(everything)))
    place = {path: i for i, path in enumerate(paths)}
    origins = [path for path in manifest.origins if path in place]
    number = {path: i for i, path in enumerate(origins)}
    kept = [
        (place[edit], number[manifest.origins[whose]])
        for edit, whose in zip(manifest.edits, manifest.owner, strict=True)
        if edit in place and manifest.origins[whose] in number
    ]
    if not kept:
        raise InputError(f"{manifest.folder}: no pair could be read; see what is skipped")
    edits, owner = (torch.tensor(column, dtype=torch.int64) for column in zip(*kept, strict=True))
    skipped = tuple((str(path), reason) for path, reason in reader.skipped)
    used = [*origins, *(paths[place] for place in edits.tolist())]
    seen = content_set(torch.tensor([(reader.contents or {})[path] for path in used]))
    return EmbeddedPairs(rows[[place[path] for path in origins]], rows[edits], owner, skipped, seen)
