"""Equations of origin identification as pure tensor functions.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025.  Its losses are CosFace (Wang et al., CVPR 2018), Circle loss (Sun et al., CVPR 2020) and the
softmax cross-entropy.

Symbols:
    z      E(g), embedding of a generated image, (N, n)
    z_o    E(o), embedding of its origin, (N, n)
    W      linear transformation, (n, m)
    f      z W, (N, m)
    C      one weight row per class, a class being an origin with its edits, (K, m)
    y      class of each row, (N,) int64
    s, m   scale and margin of a loss, no unit
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def transform(z: Tensor, W: Tensor) -> Tensor:
    """z W, (N, m).  Eq. 1 and Eq. 9."""
    return z @ W


def row_cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each row of a with the same row of b, both (N, m): (N,).  Fig. 7."""
    return F.cosine_similarity(a, b, dim=1)


def distance_ratio(f: Tensor, f_o: Tensor) -> Tensor:
    """How near (z - z_o) W = 0 is, free of the scale of W, a float64 scalar.  Eq. 1 and Eq. 3.

        E || f - f_o ||^2  /  ( 2 E || f_o - E f_o ||^2 )

    The mean squared distance of a pair over that of two unrelated origins; 0 is exact.
    """
    f, f_o = f.double(), f_o.double()
    spread = (f_o - f_o.mean(dim=0)).square().sum(dim=1).mean()
    ratio: Tensor = (f - f_o).square().sum(dim=1).mean() / (2 * spread)
    return ratio


def singular_value_cosine(W_1: Tensor, W_2: Tensor) -> Tensor:
    """cos(phi) of the vectors of singular values, descending, a float64 scalar.  Eq. 4, Table 1."""
    v_1, v_2 = torch.linalg.svdvals(W_1.double()), torch.linalg.svdvals(W_2.double())
    cosine: Tensor = v_1 @ v_2 / (v_1.norm() * v_2.norm())
    return cosine


def class_cosines(f: Tensor, C: Tensor) -> Tensor:
    """cos of every row of f with every class, (N, K)."""
    return F.normalize(f) @ F.normalize(C).T


def cosface_loss(cosines: Tensor, y: Tensor, s: float, m: float) -> Tensor:
    """Mean CosFace loss of cosines (N, K), a scalar.  CosFace, Eq. 4; here L_mtr of Eq. 9.

    -log  e^{s (cos_y - m)}  /  ( e^{s (cos_y - m)} + sum_{j != y} e^{s cos_j} )
    """
    at_y = F.one_hot(y, cosines.shape[1]).to(cosines.dtype)
    logits = s * (cosines - m * at_y)
    return _negative_log_share(logits, y)


def softmax_loss(f: Tensor, C: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of the logits f C^T, without norms, bias or margin, a scalar.  Table 6."""
    return _negative_log_share(f @ C.T, y)


def circle_loss(cosines: Tensor, y: Tensor, s: float, m: float) -> Tensor:
    """Mean class-wise Circle loss of cosines (N, K), a scalar.  Circle loss, Section 3.

        log( 1 + sum_{j != y} e^{s a_j (cos_j - m)}  e^{-s a_y (cos_y - (1 - m))} )
        a_y = [1 + m - cos_y]_+,   a_j = [cos_j + m]_+

    The weights a are constants for the gradient: they set its size, not its direction.
    """
    at_y = F.one_hot(y, cosines.shape[1]).bool()
    fixed = cosines.detach()
    positive = s * (1 + m - fixed).clamp_min(0) * (cosines - (1 - m))
    negative = s * (fixed + m).clamp_min(0) * (cosines - m)
    return _negative_log_share(torch.where(at_y, positive, negative), y)


def _negative_log_share(logits: Tensor, y: Tensor) -> Tensor:
    """Mean of -log softmax(logits)_y."""
    return (logits.logsumexp(dim=1) - logits.gather(1, y[:, None])[:, 0]).mean()
