"""The images of a pairs folder as embeddings, for `fit_edit_map`."""

from __future__ import annotations

from pathlib import Path

import torch

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.saving.store import content_set
from wherefrom.encoders import Encoder
from wherefrom.origin.edit_map.pairs import EmbeddedPairs
from wherefrom.origin.pairs.manifest import PairsManifest
from wherefrom.origin.searching.reader import Reader


def embed_pairs(
    manifest: PairsManifest, encoder: Encoder, *, track: Track = quiet
) -> EmbeddedPairs:
    """Embed every origin and every edit; an edit counts only if both could be read."""
    contents: dict[Path, int] = {}
    reader = Reader(encoder, contents=contents)
    everything = [*manifest.origins, *manifest.edits]
    paths, rows = reader.embed(track(everything, "embedding pairs", total=len(everything)))
    place = {path: i for i, path in enumerate(paths)}
    origins = [path for path in manifest.origins if path in place]
    number = {path: i for i, path in enumerate(origins)}
    pairs = [
        (place[edit], number[origin])
        for edit, origin in zip(manifest.edits, manifest.origin_of, strict=True)
        if edit in place and origin in number
    ]
    if not pairs:
        raise InputError(f"{manifest.folder}: no pair could be read; see what is skipped")
    edits, owner = (torch.tensor(column, dtype=torch.int64) for column in zip(*pairs, strict=True))
    used = [*origins, *(paths[i] for i in edits.tolist())]
    return EmbeddedPairs(
        origins=rows[[place[path] for path in origins]],
        edits=rows[edits],
        owner=owner,
        encoder=encoder.identity,
        latent_shape=encoder.latent_shape,
        seen=content_set(torch.tensor([contents[path] for path in used])),
        skipped=tuple(reader.skipped),
    )
