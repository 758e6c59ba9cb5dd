"""Image files as embeddings, a few at a time: memory does not grow with the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.data.files import UnusableFile
from wherefrom.data.images import read_image
from wherefrom.data.writing import to_float
from wherefrom.encoders import Encoder, prepare

CHUNK = 64


@dataclass(eq=False)
class Reader:
    """Reads and embeds files; the ones it cannot use gather in `skipped`, with the reason."""

    encoder: Encoder
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def chunks(
        self, paths: Iterable[Path], *, wanted: Callable[[Path, str], bool] = lambda *_: True
    ) -> Iterator[tuple[list[Path], list[str], Tensor]]:
        """Paths, digests and embeddings (n, D), n at most 64; `wanted` sees path and digest.

        A file is decoded only once, and embedded only if it is wanted.
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
                yield self._embedded(held)
                held = []
        if held:
            yield self._embedded(held)

    def embed(self, paths: Sequence[Path]) -> tuple[list[Path], list[str], Tensor]:
        """All usable files at once: paths, digests, embeddings (N, D)."""
        found = list(self.chunks(paths))
        if not found:
            return [], [], torch.zeros(0, self.encoder.dimension)
        names = [name for some, _, _ in found for name in some]
        digests = [digest for _, some, _ in found for digest in some]
        return names, digests, torch.cat([rows for _, _, rows in found])

    def _embedded(
        self, held: list[tuple[Path, str, Tensor]]
    ) -> tuple[list[Path], list[str], Tensor]:
        paths, digests, images = zip(*held, strict=True)
        return list(paths), list(digests), self.encoder.embed(torch.cat(images))
