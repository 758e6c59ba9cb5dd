"""Read and embed image files, a few at a time, so that memory does not grow with the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from wherefrom.core.saving.store import content_of
from wherefrom.data.files.opening import SkippedFile, UnusableFile
from wherefrom.data.images.items import read_image
from wherefrom.data.images.writing import to_float
from wherefrom.encoders import Encoder, prepare

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
    """Reads and embeds files; `skipped` collects those that cannot be used."""

    encoder: Encoder
    skipped: list[SkippedFile] = field(default_factory=list)
    contents: dict[Path, int] | None = None  # `core.contents` by path, where they are asked for

    def usable(self, paths: Sequence[Path], rows: Tensor) -> list[int]:
        """Places of the embeddings (N, ...) that can be compared; the others' paths are skipped."""
        reasons = faults(rows)
        self.skipped += [SkippedFile(p, why) for p, why in zip(paths, reasons, strict=True) if why]
        return [place for place, why in enumerate(reasons) if not why]

    def images(
        self, paths: Iterable[Path], *, wanted: Callable[[Path, str], bool] = lambda *_: True
    ) -> Iterator[tuple[list[Path], list[str], Tensor]]:
        """Paths, digests and pictures (n, 3, 256, 256), n at most 64.

        A file is decoded only once, and left out unless it is `wanted` by its path and digest.
        """
        held: list[tuple[Path, str, Tensor]] = []
        for path in paths:
            try:
                image = read_image(path, channels=3, losses=False)
            except UnusableFile as problem:
                self.skipped.append(SkippedFile(path, problem.reason))
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

    def embed(self, paths: Iterable[Path]) -> tuple[list[Path], Tensor]:
        """Paths and embeddings (N, D) of all files that can be compared."""
        usable, embeddings = list[Path](), [torch.zeros(0, self.encoder.dimension)]
        for some, _, pictures in self.images(paths):
            rows = self.encoder.embed(pictures)
            places = self.usable(some, rows)
            usable += [some[i] for i in places]
            embeddings.append(rows[places])
        return usable, torch.cat(embeddings)


def _columns(held: list[tuple[Path, str, Tensor]]) -> tuple[list[Path], list[str], Tensor]:
    paths, digests, pictures = zip(*held, strict=True)
    return list(paths), list(digests), torch.cat(pictures)
