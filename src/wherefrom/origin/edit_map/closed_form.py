"""W in closed form: the directions in which origins differ most and edits change least.

Wang et al.: Generalizable Origin Identification for Text-Guided Image-to-Image Diffusion Models,
2025, Theorem 1, with the normalisation that keeps W from 0:

    S_t v = lambda (S_d + eps I) v,   v^T (S_d + eps I) v = 1,   eps = ridge * tr(S_d) / n

The columns of W are the m eigenvectors of largest lambda.  The sign of each is that which makes its
largest entry positive.

The same W comes out of two computations: of (n, n) moments, and of inner products of images, for
latents so long (16,384 and more) that moments are gigabytes and their eigenvectors hours.

Symbols:
    S_t   covariance of the N origins, A^T A with A (N, n)
    S_d   second moment of the M differences z - z_o, T^T T with T (M, n)
    B     S_d + eps I
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.origin.edit_map.fitted import EditMapConfig
from wherefrom.origin.edit_map.gathered import LIMIT, ROWS, PairMoments
from wherefrom.origin.edit_map.pairs import EmbeddedPairs

Columns = Callable[[slice], tuple[Tensor, Tensor]]
COLUMNS = 2048  # turned into float64 at once
MIN_SHARE = 1e-12  # of the largest eigenvalue; a direction with less is rounding


class Shape(NamedTuple):
    """How many origins N and edits M there are, and of how many dimensions n."""

    origins: int
    edits: int
    dimension: int


def solve(pairs: EmbeddedPairs, config: EditMapConfig, track: Track = quiet) -> Tensor:
    """W (n, m) float64 on the CPU, of N origins and M edits.

    Through the moments, or where n is more than N and M through inner products of images: the same
    W, from matrices as wide as N and M instead of n.  `InputError` if all three pass `LIMIT`.
    """
    shape = Shape(len(pairs.origins), len(pairs.edits), pairs.origins.shape[1])
    if shape.dimension <= min(max(shape.origins, shape.edits), LIMIT):
        return from_moments(moments_of(pairs, track), config)

    def columns(part: slice) -> tuple[Tensor, Tensor]:
        z_o = pairs.origins[:, part].double()
        return z_o, pairs.edits[:, part].double() - z_o[pairs.owner]

    return from_samples(columns, shape, config, track)


def moments_of(pairs: EmbeddedPairs, track: Track = quiet) -> PairMoments:
    """The moments of all origins and edits."""
    moments = PairMoments.empty(pairs.encoder, pairs.origins.shape[1])
    moments.add_origins(pairs.origins)
    places = range(0, len(pairs.edits), ROWS)
    for first in track(places, "summing over pairs", total=len(places)):
        part = slice(first, first + ROWS)
        moments.add_edits(pairs.edits[part], pairs.origins[pairs.owner[part]])
    return moments


def from_moments(moments: PairMoments, config: EditMapConfig) -> Tensor:
    """W (n, m) float64 on the CPU: v = L^-T u, u the eigenvectors of L^-1 S_t L^-T, B = L L^T."""
    n, m = moments.dimension, config.rank
    require_rank(m, n)
    _require_origins(moments.origin_count, m)
    S_t, B = moments.total().cpu(), moments.difference().cpu()  # noqa: N806 (the paper's letters)
    eps = config.ridge * _mean_change(B.trace(), n)
    B.diagonal().add_(eps)
    L = _root(B, moments.edit_count)  # noqa: N806
    half = torch.linalg.solve_triangular(L, S_t, upper=False)
    _, u = _largest(torch.linalg.solve_triangular(L, half.T, upper=False), m)
    return _signed(torch.linalg.solve_triangular(L.T, u, upper=True))


def from_samples(
    columns: Columns, shape: Shape, config: EditMapConfig, track: Track = quiet
) -> Tensor:
    """W (n, m) float64 on the CPU, with no (n, n) matrix: memory goes with N (N + M) + M M.

    `columns(part)` gives z_o (N, c) and z - z_o (M, c) in float64 for a slice of c dimensions.

    With S_t = A^T A and v = B^-1 A^T u / sqrt(lambda) the problem becomes one of (N, N),

        A B^-1 A^T u = lambda u,   B^-1 = (I - T^T (eps I + T T^T)^-1 T) / eps   (Woodbury)

    because S_t v = lambda B v has v in the span of B^-1 A^T wherever lambda > 0.  So nothing is
    left out: eps makes B regular on the whole space, and beyond the span lambda is 0.  With
    eps I + T T^T = L L^T and Y = L^-1 T A^T, the matrix is (A A^T - Y^T Y) / eps.
    """
    require_rank(config.rank, shape.dimension)
    _require_origins(shape.origins, config.rank)
    if max(shape.origins, shape.edits) > LIMIT:
        raise InputError(
            f"{shape.origins} origins and {shape.edits} edits of {shape.dimension} dimensions are "
            f"too many for the closed form (at most {LIMIT} origins and edits, or {LIMIT} "
            "dimensions); leave edits out, take an encoder with smaller latents, or train with the "
            "solver 'sgd'"
        )

    def scaled(first: int) -> tuple[Tensor, Tensor]:
        z_o, change = columns(slice(first, first + COLUMNS))
        a = (z_o - z_o.mean(dim=0)) / shape.origins**0.5
        return a.cpu(), (change / shape.edits**0.5).cpu()

    zero = torch.zeros((), dtype=torch.float64)
    AA = AT = TT = zero  # noqa: N806 (inner products of rows)
    places = range(0, shape.dimension, COLUMNS)
    for a, t in map(scaled, track(places, "multiplying rows of pairs", total=len(places))):
        AA, AT, TT = AA + a @ a.T, AT + a @ t.T, TT + t @ t.T  # noqa: N806
    eps = config.ridge * _mean_change(TT.trace(), shape.dimension)
    TT.diagonal().add_(eps)
    if not eps:
        raise _too_few(shape.edits)
    L = _root(TT, shape.edits)  # noqa: N806
    Y = torch.linalg.solve_triangular(L, AT.T, upper=False)  # noqa: N806
    values, u = _largest((AA - Y.T @ Y) / eps, config.rank)
    c = torch.linalg.solve_triangular(L.T, Y @ u, upper=True)
    rows = [(a.T @ u - t.T @ c) / (eps * values.sqrt()) for a, t in map(scaled, places)]
    return _signed(torch.cat(rows))


def require_rank(rank: int, dimension: int) -> None:
    """An `InputError` if W would have more columns than rows."""
    if rank > dimension:
        raise InputError(
            f"rank {rank} is more than the {dimension} dimensions of an embedding; give at most "
            f"{dimension}"
        )


def _require_origins(count: int, rank: int) -> None:
    if count <= rank:
        raise InputError(
            f"{count} origins span fewer than the {rank} directions asked for; give more origins "
            f"(they need no edits) or a rank below {count}"
        )


def _mean_change(trace: Tensor, dimension: int) -> float:
    change = float(trace) / dimension
    if not change > 0:
        raise InputError("every edit equals its origin, so there is nothing to fit; give edits")
    return change


def _root(matrix: Tensor, edits: int) -> Tensor:
    """The Cholesky factor, lower."""
    L: Tensor  # noqa: N806
    L, failed = torch.linalg.cholesky_ex(matrix)  # noqa: N806
    if int(failed):
        raise _too_few(edits)
    return L


def _too_few(edits: int) -> InputError:
    return InputError(f"{edits} edits do not vary in every direction; give a ridge above 0")


def _largest(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest eigenvalues, descending, and their vectors as columns."""
    from scipy.linalg import eigh  # slow to import

    size = len(matrix)
    symmetric = ((matrix + matrix.T) / 2).numpy()
    ascending, vectors = eigh(symmetric, subset_by_index=[size - count, size - 1], driver="evr")
    values = torch.from_numpy(ascending).flip(0)
    if not float(values[-1]) > MIN_SHARE * float(values[0]):
        raise InputError(
            f"the origins are too alike to span {count} directions; leave duplicates out, or give "
            "a lower rank"
        )
    return values, torch.from_numpy(vectors).flip(1)


def _signed(W: Tensor) -> Tensor:  # noqa: N803
    largest = W.gather(0, W.abs().argmax(dim=0, keepdim=True))
    return W * largest.sign()
