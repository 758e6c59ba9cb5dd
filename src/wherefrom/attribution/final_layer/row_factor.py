"""(G_L G_L^T + rho I)^-1 on the output side, by a block-tridiagonal Cholesky factor over rows.

Two output elements share an activation only if their rows lie within the kernel's reach, so that
G_L G_L^T couples a group of rows with its neighbours and no others.  Factor and solution then cost
the rows times the square of a group, not the cube of the image.

George and Liu: Computer Solution of Large Sparse Positive Definite Systems, 1981.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch import Tensor

from wherefrom.generators.last_layer.layer import LastLayer

MAX_BLOCK = 768  # elements of a group of rows: beyond it FISTA's iterations are cheaper
PROBES = 96


@dataclass(frozen=True, eq=False)
class RowFactor:
    """The factor of G_L G_L^T + rho I: L with diagonal blocks L_k and blocks M_k below them."""

    rho: float
    starts: tuple[int, ...]  # first row of each group; the last entry is the number of rows
    inverses: tuple[Tensor, ...]  # L_k^-1
    below: tuple[Tensor, ...]  # M_k, couples group k with k - 1

    def solve(self, b: Tensor) -> Tensor:
        """(G_L G_L^T + rho I)^-1 b for b (N, *output_shape)."""
        rows = _to_rows(b)
        groups = [
            rows[first:last].flatten(0, 1)
            for first, last in zip(self.starts, self.starts[1:], strict=False)
        ]
        y = [self.inverses[0] @ groups[0]]
        for k in range(1, len(groups)):
            y.append(self.inverses[k] @ torch.addmm(groups[k], self.below[k - 1], y[-1], alpha=-1))
        x = [self.inverses[-1].T @ y[-1]]
        for k in range(len(groups) - 2, -1, -1):
            x.append(self.inverses[k].T @ torch.addmm(y[k], self.below[k].T, x[-1], alpha=-1))
        return _from_rows(torch.cat(x[::-1]), b.shape)


def factor_rows(layer: LastLayer, rho: float) -> RowFactor | None:
    """The factor for `layer`, or None where it would cost more than it saves."""
    reach = _row_reach(layer)
    if reach is None:
        return None
    couplings = _couplings(layer, reach)
    starts = _grouping(couplings, reach)
    if starts is None:
        return None
    inverses: list[Tensor] = []
    below: list[Tensor] = []
    for k in range(len(starts) - 1):
        diagonal = _block(couplings, starts, k, k)
        diagonal.diagonal().add_(rho)
        if k:
            below.append(_block(couplings, starts, k, k - 1) @ inverses[-1].T)
            diagonal -= below[-1] @ below[-1].T
        lower = torch.linalg.cholesky(diagonal)
        unit = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        inverses.append(torch.linalg.solve_triangular(lower, unit, upper=False))
    narrow = layer.weight.dtype
    return RowFactor(
        rho,
        starts,
        tuple(block.to(narrow) for block in inverses),
        tuple(block.to(narrow) for block in below),
    )


def _row_reach(layer: LastLayer) -> int | None:
    """How many rows apart two outputs that share an activation can be; None: not by rows."""
    if layer.kind == "dense":
        small = len(layer.output_shape) == 1 and layer.output_shape[0] <= MAX_BLOCK
        return 0 if small else None
    if len(layer.output_shape) > 3:
        return None
    extent = (layer.weight.shape[2] - 1) * layer.dilation[0]
    reach = extent if layer.kind == "conv_transpose" else extent // layer.stride[0]
    columns = layer.output_shape[0] * (layer.output_shape[2] if len(layer.output_shape) > 2 else 1)
    return reach if columns <= MAX_BLOCK else None


def _to_rows(o: Tensor) -> Tensor:
    """(N, *output_shape) -> (rows, elements of a row, N)."""
    if o.ndim == 2:
        return o.T[None]
    return o.movedim((2, 0), (0, -1)).reshape(o.shape[2], -1, o.shape[0])


def _from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_to_rows`, whose first two axes may be joined."""
    if len(shape) == 2:
        return rows.reshape(shape[1], shape[0]).T
    count, channels, height = shape[:3]
    return rows.reshape(height, channels, *shape[3:], count).movedim((0, -1), (2, 0))


def _couplings(layer: LastLayer, reach: int) -> Tensor:
    """Lower half of G_L G_L^T, float64 (rows, reach + 1, D, D): [i, t] couples rows i and i - t.

    Rows further apart than the reach do not meet, so many are probed at once.
    """
    wide = layer.to(dtype=torch.float64)
    sample = layer.weight.new_zeros(1, *layer.output_shape, dtype=torch.float64)
    rows, columns, _ = _to_rows(sample).shape
    couplings = sample.new_zeros(rows, reach + 1, columns, columns)
    for first in range(min(2 * reach + 1, rows)):
        probed = range(first, rows, 2 * reach + 1)
        for start in range(0, columns, PROBES):
            stop = min(start + PROBES, columns)
            unit = torch.eye(columns, dtype=torch.float64, device=sample.device)[:, start:stop]
            probe = sample.new_zeros(rows, columns, stop - start)
            probe[list(probed)] = unit
            shape = torch.Size((stop - start, *layer.output_shape))
            answer = _to_rows(wide.linear(wide.adjoint(_from_rows(probe, shape).contiguous())))
            for j in probed:
                for i in range(j, min(rows, j + reach + 1)):
                    couplings[i, i - j, :, start:stop] = answer[i]
    return couplings


def _grouping(couplings: Tensor, reach: int) -> tuple[int, ...] | None:
    """Starts of the smallest groups of rows that are coupled with their neighbours only.

    A strided layer's rows fall into smaller groups than the reach, if these begin at the right row.
    """
    rows, columns = couplings.shape[0], couplings.shape[-1]
    met = (couplings != 0).flatten(2).any(dim=2)
    pairs = [(i, i - t) for i, t in met.nonzero().tolist()]
    for size in range(1, max(reach, 1) + 1):
        if size * columns > MAX_BLOCK:
            return None
        for offset in range(size):
            starts = sorted({0, *range(offset, rows, size)})
            group = [bisect_right(starts, row) for row in range(rows)]
            if all(group[i] - group[j] <= 1 for i, j in pairs):
                return (*starts, rows)
    return None


def _block(couplings: Tensor, starts: tuple[int, ...], k: int, m: int) -> Tensor:
    """The block of G_L G_L^T that couples group k with group m <= k; its lower half if m = k."""
    columns = couplings.shape[-1]
    high, wide = starts[k + 1] - starts[k], starts[m + 1] - starts[m]
    block = couplings.new_zeros(high, columns, wide, columns)
    for a in range(high):
        for b in range(wide):
            t = (starts[k] + a) - (starts[m] + b)
            if 0 <= t < couplings.shape[1]:
                block[a, :, b] = couplings[starts[k] + a, t]
    return block.reshape(high * columns, wide * columns)
