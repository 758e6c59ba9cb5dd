"""Views of a query, so that a flip or a crop does not hide its origin.

The query's mirror image is encoded on its own, because an encoder's latent of a mirror image is not
the mirror image of its latent.  Crops are made of the latents: a query that shows four fifths of
its origin is laid at five places of a blank latent, and the middle of a query that shows a border
is enlarged.  That costs no further encoding, but a scan of the index per view.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NONE, FLIP, CROPS = "none", "flip", "flip+crops"
VIEWS = (NONE, FLIP, CROPS)
SHOWN = 0.8  # share of a side of the origin that a cropped query is taken to show
MIDDLE = 5 / 6  # share of a side of the query that is not border
PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # middle, then corners


def count(views: str) -> int:
    """How many rows `look` makes of one query."""
    return {NONE: 1, FLIP: 2, CROPS: 2 * (2 + len(PLACES))}[views]


def look(frames: Tensor, views: str, blank: Tensor | None) -> Tensor:
    """The views of a query as embeddings (V, D), the query itself first.

    `frames` (F, c, h, w): latents of the query, and of its mirror image unless `views` is none.
    `blank` (D,): the embedding of nothing in particular, as the mean of W; without one the query's
    mean per channel stands in.
    """
    if views == NONE:
        return frames[:1].flatten(1)
    seen = [frames]
    if views == CROPS:
        nothing = frames.mean((2, 3), keepdim=True).expand_as(frames)
        if blank is not None:
            nothing = blank.view(1, *frames.shape[1:]).expand_as(frames)
        seen += [_laid(frames, nothing, y, x) for y, x in PLACES]
        seen.append(_enlarged(frames))
    return torch.cat(seen).flatten(1)


def _laid(frames: Tensor, nothing: Tensor, y: float, x: float) -> Tensor:
    h, w = frames.shape[-2:]
    tall, wide = round(h * SHOWN), round(w * SHOWN)
    y_0, x_0 = round((h - tall) * y), round((w - wide) * x)
    out = nothing.clone()
    small = F.interpolate(frames, (tall, wide), mode="bilinear", antialias=True)
    out[..., y_0 : y_0 + tall, x_0 : x_0 + wide] = small
    return out


def _enlarged(frames: Tensor) -> Tensor:
    h, w = frames.shape[-2:]
    tall, wide = round(h * MIDDLE), round(w * MIDDLE)
    y_0, x_0 = (h - tall) // 2, (w - wide) // 2
    middle = frames[..., y_0 : y_0 + tall, x_0 : x_0 + wide]
    return F.interpolate(middle, (h, w), mode="bilinear")
