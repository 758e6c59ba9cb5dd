"""W in closed form from a few hundred pairs: cosine waves on the latent grid.

The generalised eigenproblem of `closed_form`, S_t v = lambda S_d v, with both matrices taken to be
diagonal in the basis of cosine waves (DCT-II) of each channel, as they are where a photograph may
have anything anywhere.  n variances are estimated instead of n^2 / 2, so far fewer pairs do, and
there may be more columns than origins.

    lambda_k = S_t(k) / S_d(k),   v_k = wave_k / S_d(k)^p

Symbols:
    k         channel and two frequencies
    S_t(k)    variance of the k-th coefficient over origins
    S_d(k)    mean square of that of z - z_o over pairs
    p         `power`

Both are averaged over the 3 x 3 frequencies around k.  The columns of W are the m waves of largest
lambda, the largest first.

Deviation: v^T S_d v = 1 would be p = 1/2.  The default of 1 was chosen on training pairs, because
the cosine of two projections adds up products without regard to how unsure each one is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.origin.edit_map.fitted import EditMapConfig
from wherefrom.origin.edit_map.pairs import EmbeddedPairs

ROWS = 256  # embeddings turned into waves at once
AROUND = 3  # frequencies, a side of the square over which variances are averaged


def fit_waves(
    pairs: EmbeddedPairs, latent_shape: tuple[int, int, int], config: EditMapConfig
) -> Tensor:
    """W (n, m) float64 on the CPU; `latent_shape` is (c, h, w) with c * h * w = n."""
    origins, edits, owner = pairs.origins, pairs.edits, pairs.owner
    c, h, w = latent_shape
    if c * h * w != origins.shape[1]:
        raise InputError(
            f"latents of {c} x {h} x {w} are not the {origins.shape[1]} numbers of an embedding; "
            "give the shape of the encoder's latents"
        )
    mean = origins.mean(dim=0, dtype=torch.float64)
    total = origins.new_zeros(c, h, w, dtype=torch.float64)
    for rows in torch.split(torch.arange(len(origins)), ROWS):
        total += _squares(origins[rows].double() - mean, latent_shape)
    change = torch.zeros_like(total)
    for rows in torch.split(torch.arange(len(edits)), ROWS):
        difference = edits[rows].double() - origins[owner[rows]].double()
        change += _squares(difference, latent_shape)
    S_t, S_d = _around(total.cpu() / len(origins)), _around(change.cpu() / len(edits))  # noqa: N806
    if not float(S_d.max()) > 0:
        raise InputError("every edit equals its origin, so there is nothing to fit; give edits")
    # A wave that no edit changed would weigh without bound.
    S_d = S_d.clamp_min(1e-6 * float(S_d.mean()))  # noqa: N806
    order = (S_t / S_d).argsort(descending=True, stable=True)[: config.rank]
    return _waves(order, latent_shape).T * S_d[order] ** -config.power


def _squares(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Sums over rows (N, n) of squared coefficients, (c, h, w)."""
    from scipy.fft import dctn  # slow to import

    coefficients = dctn(rows.cpu().reshape(-1, *shape).numpy(), axes=(2, 3), norm="ortho")
    return torch.from_numpy(coefficients).square().sum(0).to(rows.device)


def _around(variances: Tensor) -> Tensor:
    """Means over neighbouring frequencies of each channel, (n,)."""
    beside = AROUND // 2
    return F.avg_pool2d(variances[None], AROUND, 1, beside, count_include_pad=False).flatten()


def _waves(chosen: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Unit waves (m, n) float64."""
    from scipy.fft import idctn

    n = shape[0] * shape[1] * shape[2]
    single = F.one_hot(chosen, n).double().reshape(-1, *shape)
    waves: Tensor = torch.from_numpy(idctn(single.numpy(), axes=(2, 3), norm="ortho"))
    return waves.flatten(1)
