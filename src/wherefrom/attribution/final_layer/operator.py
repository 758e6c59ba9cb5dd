"""The last layer as an operator: its exact norm, and a faster form of strided transposed layers.

Norm of a zero-padded convolution: it is a section of the infinite (Laurent) operator, whose norm
is the largest singular value of its symbol over all frequencies.  The squared singular values are
trigonometric polynomials of degree d along each axis, so their largest value on a grid of n
frequencies is exceeded by at most 1 / cos(pi d / n) per axis (Ehlich and Zeller 1964).  The bound
returned is therefore never too small, and at most that factor too large: one per cent in all for a
2-D layer of degree 2 (a 3x3 kernel, or 4x4 with stride 2), nine for a 7x7 kernel.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.generators.last_layer.layer import LastLayer

FREQUENCIES = 64


def squared_norm(layer: LastLayer) -> float:
    """An upper bound of ||G_L||_2^2, as tight as the module says; exact for dense layers."""
    weight = layer.weight.double().cpu()
    if layer.kind == "dense":
        return float(torch.linalg.matrix_norm(weight, 2) ** 2)
    # Both kinds store (small side, large side / groups, *kernel) up to the order of the first two
    # axes; conv_transpose is the adjoint of conv with the same weight, and has the same norm.
    groups = weight.chunk(layer.groups)
    return max(_symbol_supremum(w, layer.stride, layer.dilation) for w in groups)


def _symbol_supremum(weight: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...]) -> float:
    axes = weight.ndim - 2
    kernel = weight.shape[2:]
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    degree = [math.ceil(r / s) for r, s in zip(reach, stride, strict=True)]
    per_axis = max(8, FREQUENCIES if axes < 3 else 16, *(4 * d for d in degree))
    grid = [per_axis * s for s in stride]
    dilated = weight.new_zeros(*weight.shape[:2], *(r + 1 for r in reach))
    places = tuple(slice(None, None, d) for d in dilation)
    dilated[(slice(None), slice(None), *places)] = weight
    folded = _wrap(dilated, grid)
    spectrum = torch.fft.fftn(folded, dim=tuple(range(2, 2 + axes)))
    # Frequencies that a stride folds onto one another act together: put them side by side.
    split = [part for s in stride for part in (s, per_axis)]
    # At opposite frequencies the singular values of real kernels are the same: half of the last
    # axis holds them all.
    spectrum = spectrum.reshape(*weight.shape[:2], *split)[..., : per_axis // 2 + 1]
    coarse = [3 + 2 * a for a in range(axes)]
    folds = [2 + 2 * a for a in range(axes)]
    stacked = spectrum.permute(*coarse, 0, 1, *folds)
    matrix = stacked.reshape(-1, weight.shape[0], weight.shape[1] * math.prod(stride))
    gram = matrix @ matrix.mH if matrix.shape[1] <= matrix.shape[2] else matrix.mH @ matrix
    largest = float(torch.linalg.eigvalsh(gram)[:, -1].max()) / math.prod(stride)
    return largest * math.prod(1 / math.cos(math.pi * d / per_axis) for d in degree)


def _wrap(kernel: Tensor, grid: list[int]) -> Tensor:
    """Zero-pad the kernel's spatial axes to the grid."""
    padding = [v for k, n in zip(kernel.shape[:1:-1], grid[::-1], strict=True) for v in (0, n - k)]
    return F.pad(kernel, padding)


@dataclass(frozen=True)
class FastOperator:
    """G_L and its adjoint on one dtype and device, with the output side in a layout of its own.

    A strided transposed 2-D convolution is rewritten as a stride-one convolution onto the stride's
    phases (sub-pixel form): the same numbers, several times faster on a CPU.  `to_phases` converts
    the output side; every other layer keeps its layout.
    """

    layer: LastLayer
    forward_kernel: Tensor | None
    adjoint_kernel: Tensor | None
    padding: tuple[int, int]

    @classmethod
    def of(cls, layer: LastLayer) -> FastOperator:
        """The fast form of `layer` where there is one, else the layer itself."""
        if not _has_phases(layer):
            return cls(layer, None, None, (0, 0))
        kernel, padding = _phase_kernel(layer)
        return cls(layer, kernel, kernel.flip(2, 3).transpose(0, 1).contiguous(), padding)

    def linear(self, z: Tensor) -> Tensor:
        """G_L z, output side in phases."""
        if self.forward_kernel is None:
            return self.layer.linear(z)
        return F.conv2d(z, self.forward_kernel, padding=self.padding)

    def adjoint(self, r: Tensor) -> Tensor:
        """G_L^T r for r in phases."""
        if self.adjoint_kernel is None:
            return self.layer.adjoint(r)
        k = self.adjoint_kernel.shape
        return F.conv2d(
            r, self.adjoint_kernel, padding=(k[2] - 1 - self.padding[0], k[3] - 1 - self.padding[1])
        )

    def to_phases(self, o: Tensor) -> Tensor:
        """Output (N, C, H, W) -> phases (N, C s^2, H / s, W / s)."""
        if self.forward_kernel is None:
            return o
        return F.pixel_unshuffle(o, self.layer.stride[0])

    def from_phases(self, o: Tensor) -> Tensor:
        """The inverse of `to_phases`."""
        if self.forward_kernel is None:
            return o
        return F.pixel_shuffle(o, self.layer.stride[0])


def _has_phases(layer: LastLayer) -> bool:
    """A square-stride 2-D transposed convolution whose output is a whole number of phases."""
    return (
        layer.kind == "conv_transpose"
        and len(layer.stride) == 2
        and layer.stride[0] == layer.stride[1] > 1
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.output_shape[1] == layer.stride[0] * layer.input_shape[1]
        and layer.output_shape[2] == layer.stride[1] * layer.input_shape[2]
    )


def _phase_kernel(layer: LastLayer) -> tuple[Tensor, tuple[int, int]]:
    """Kernel (C s^2, C_in, K, K) and its padding: output row s i + a takes kernel row
    a + p - s t from input row i + t."""
    weight, s = layer.weight, layer.stride[0]
    size = weight.shape[2:]
    # k + output_padding = s + 2 p (`_has_phases`): no row lies further away on the other side.
    reach = [(s - 1 + p) // s for p in layer.padding]
    inputs, outputs = weight.shape[:2]
    kernel = weight.new_zeros(outputs, s, s, inputs, 2 * reach[0] + 1, 2 * reach[1] + 1)
    offsets = (range(-n, n + 1) for n in reach)
    for a, b, (t, u) in (
        (a, b, tu) for tu in itertools.product(*offsets) for a in range(s) for b in range(s)
    ):
        row, column = a + layer.padding[0] - s * t, b + layer.padding[1] - s * u
        if 0 <= row < size[0] and 0 <= column < size[1]:
            kernel[:, a, b, :, t + reach[0], u + reach[1]] = weight[:, :, row, column].T
    return kernel.reshape(outputs * s * s, inputs, *kernel.shape[-2:]), (reach[0], reach[1])
