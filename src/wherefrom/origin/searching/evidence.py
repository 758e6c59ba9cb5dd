"""Where a query lies in a candidate, and where the two differ: what a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.progress import Track, quiet
from wherefrom.encoders import Encoder
from wherefrom.origin.index.result import IndexedImage
from wherefrom.origin.reranking.scores import Originals, read_indexed
from wherefrom.origin.reranking.spatial import Alignment, align, difference_map
from wherefrom.origin.searching.result import OriginAnswer

MAX_ANSWERS, MAX_CANDIDATES = 30, 3


@dataclass(frozen=True, eq=False)
class CandidateOverlay:
    """One candidate laid over a query; `cells` (h, w) as `spatial.difference_map` gives them."""

    alignment: Alignment
    cells: Tensor


def gather_evidence(
    answers: Sequence[OriginAnswer], encoder: Encoder, *, track: Track = quiet
) -> dict[tuple[str, str], CandidateOverlay]:
    """Overlays by names of query and candidate, for the first candidates of the first answers.

    Files are read again; one that cannot be, or that has changed, has no evidence.
    """
    originals = Originals(encoder)
    overlays: dict[tuple[str, str], CandidateOverlay] = {}
    few = [answer for answer in answers if answer.digest is not None][:MAX_ANSWERS]
    for answer in track(few, "comparing latents of candidates", total=len(few)):
        query = read_indexed(IndexedImage(0, answer.name, answer.digest or "", 0.0))
        if isinstance(query, str):
            continue
        frames = encoder.latents(torch.stack([query, query.flip(-1)]))
        for candidate in answer.candidates[:MAX_CANDIDATES]:
            latent = originals.latent(IndexedImage(0, candidate.path, candidate.digest, 0.0))
            if isinstance(latent, str):
                continue
            (alignment,) = align(frames, latent[None])
            cells = difference_map(frames[int(alignment.mirrored)], latent, alignment)
            overlays[answer.name, candidate.path] = CandidateOverlay(alignment, cells)
    return overlays
