"""Image files as embeddings, a few at a time: memory does not grow with the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.data.files import UnusableFile
from wherefrom.data.images import read_image
from wherefrom.data.writing import to_float
from wherefrom.encoders import Encoder, prepare
from wherefrom.origin.pairs import PairsManifest

CHUNK = 64


@dataclass(eq=False)
class Reader:
    """Reads and embeds files; the ones it cannot use gather in `skipped`, with the reason."""

    encoder: Encoder
    skipped: list[tuple[Path, str]] = field(default_factory=list)

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
            if wanted(path, image.digest):
                held.append((path, image.digest, prepare(to_float(image.pixels[None]))))
            if len(held) == CHUNK:
                yield _columns(held)
                held = []
        if held:
            yield _columns(held)

    def chunks(self, paths: Iterable[Path]) -> Iterator[tuple[list[Path], list[str], Tensor]]:
        """Paths, digests and embeddings (n, D), n at most 64."""
        for some, digests, pictures in self.images(paths):
            yield some, digests, self.encoder.embed(pictures)

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
    """What `fit_edit_map` takes: origins (N, D), edits (M, D), and whose each edit is (M,)."""

    origins: Tensor
    edits: Tensor
    owner: Tensor
    skipped: tuple[tuple[str, str], ...]


def embed_pairs(
    manifest: PairsManifest, encoder: Encoder, *, track: Track = quiet
) -> EmbeddedPairs:
    """Embed every origin and every edit; an edit counts only if both could be read."""
    reader = Reader(encoder)
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
    return EmbeddedPairs(rows[[place[path] for path in origins]], rows[edits], owner, skipped)
