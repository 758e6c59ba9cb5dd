"""How well the paper's theorems hold for a map: the quantities of Fig. 7 and Table 1.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Larger cosines = the theorems hold better; a smaller distance ratio likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.origin.edit_map.fitted import FittedEditMap, through_layers
from wherefrom.origin.equations import distance_ratio, row_cosines, singular_value_cosine, transform


@dataclass(frozen=True)
class PairReport:
    """How near edits lie to their origins, without W and with it.  Theorems 1 and 2, Fig. 7."""

    pairs: int
    cosine_raw: float  # mean cosine of the embeddings as they are
    cosine: float  # mean cosine of the projections
    distance_ratio_raw: float  # E|z - z_o|^2 over that of two unrelated origins
    distance_ratio: float  # the same after W


@torch.no_grad()
def report_pairs(fitted: FittedEditMap, edits: Tensor, origins: Tensor) -> PairReport:
    """The report for edits (M, n) and the origin of each (M, n), of at least two origins."""
    if edits.shape != origins.shape or len(edits) < 2 or edits.ndim != 2:
        raise InputError(
            f"edits of shape {tuple(edits.shape)} and origins of shape {tuple(origins.shape)}: "
            "expected the same (M, n), at least two rows"
        )
    if edits.shape[1] != fitted.dimension:
        raise InputError(
            f"embeddings of {edits.shape[1]} dimensions, but the map has {fitted.dimension}"
        )
    z, z_o = edits.float(), origins.float()
    f, f_o = (
        through_layers(transform(x - fitted.mean, fitted.weight), fitted.layers) for x in (z, z_o)
    )
    return PairReport(
        len(edits),
        float(row_cosines(z, z_o).double().mean()),
        float(row_cosines(f, f_o).double().mean()),
        float(distance_ratio(z, z_o)),
        float(distance_ratio(f, f_o)),
    )


def compare_maps(first: FittedEditMap, second: FittedEditMap) -> float:
    """cos(phi) of the singular values of two maps of one rank.  Eq. 4, Table 1."""
    if first.rank != second.rank:
        raise InputError(
            f"maps of rank {first.rank} and {second.rank} cannot be compared; fit one rank"
        )
    return float(singular_value_cosine(first.weight, second.weight))
