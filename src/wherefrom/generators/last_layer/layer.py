"""The last linear operation of a generator as a plain value: G_L, its bias and its exact adjoint.

Laszkiewicz, Ricker, Lederer, Fischer: Single-Model Attribution of Generative Models Through
Final-Layer Inversion, ICML 2024, Section 4.1: x = sigma(G_L z + b).

Symbols:
    z   input activation of the last layer, (N, *input_shape)
    o   output activation G_L z + b, (N, *output_shape)
    r   anything of the shape of o
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor
from torch.nn.functional import linear as apply_linear

from wherefrom.core.errors import InputError

Kind = Literal["conv", "conv_transpose", "dense"]
GEOMETRY = ("stride", "padding", "dilation", "output_padding")


@dataclass(frozen=True, eq=False, kw_only=True)
class LastLayer:
    """A convolution, transposed convolution (1-D to 3-D) or dense layer at a fixed input size.

    `weight` is (out, in/groups, *kernel) for "conv", (in, out/groups, *kernel) for
    "conv_transpose" and (out, in) for "dense", as in `torch.nn`.  Shapes are those of one item:
    (C, *size), or (D,), or (rows, D) for a dense layer that is applied to every row.
    """

    kind: Kind
    weight: Tensor
    bias: Tensor | None
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"no layer kind {self.kind!r}; choose {', '.join(get_args(Kind))}")
        for name in ("input_shape", "output_shape", *GEOMETRY):
            object.__setattr__(self, name, tuple(int(value) for value in getattr(self, name)))

    @property
    def name(self) -> str:
        """How messages call it, as in `ConvTranspose2d(64, 3)`."""
        if self.kind == "dense":
            return f"Linear({self.input_shape[-1]}, {self.output_shape[-1]})"
        word = "Conv" if self.kind == "conv" else "ConvTranspose"
        return f"{word}{self.weight.ndim - 2}d({self.input_shape[0]}, {self.output_shape[0]})"

    def linear(self, z: Tensor) -> Tensor:
        """G_L z without the bias: (N, *input_shape) -> (N, *output_shape)."""
        if self.kind == "dense":
            return apply_linear(z, self.weight)
        return self._convolve(z, self.kind == "conv_transpose", self.output_padding)

    def apply(self, z: Tensor) -> Tensor:
        """G_L z + b: (N, *input_shape) -> (N, *output_shape)."""
        out = self.linear(z)
        if self.bias is None:
            return out
        spatial = [1] * (0 if self.kind == "dense" else self.weight.ndim - 2)
        return out + self.bias.reshape(-1, *spatial)

    def adjoint(self, r: Tensor) -> Tensor:
        """G_L^T r, so that <G_L z, r> = <z, G_L^T r>: (N, *output_shape) -> (N, *input_shape)."""
        if self.kind == "dense":
            return r @ self.weight
        if self.kind == "conv":
            return self._convolve(r, True, self._leftover())
        # With output_padding >= stride (legal where dilation is larger) the convolution has more
        # positions than the input had; those beyond it belong to no z.
        z = self._convolve(r, False, (0,) * len(self.stride))
        for axis, size in enumerate(self.input_shape[1:], start=2):
            z = z.narrow(axis, 0, size)
        return z

    def divided(self, unit: Tensor) -> LastLayer:
        """The layer of o / unit; `unit` (out channels,) or, for a dense layer, (out,)."""
        if self.kind == "conv_transpose":
            spread = unit.reshape(self.groups, 1, -1)  # of each group's outputs
            inputs = self.weight.shape[0] // self.groups
            factor = spread.expand(-1, inputs, -1).reshape(self.weight.shape[0], -1)
            weight = self.weight / factor.reshape(*factor.shape, *[1] * (self.weight.ndim - 2))
        else:
            weight = self.weight / unit.reshape(-1, *[1] * (self.weight.ndim - 1))
        bias = None if self.bias is None else self.bias / unit
        return dataclasses.replace(self, weight=weight, bias=bias)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LastLayer:
        """The same layer on another device or in another dtype."""
        bias = None if self.bias is None else self.bias.to(device=device, dtype=dtype)
        weight = self.weight.to(device=device, dtype=dtype)
        return dataclasses.replace(self, weight=weight, bias=bias)

    def to_meta(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON values."""
        meta: dict[str, Any] = {"kind": self.kind, "groups": self.groups}
        for name in ("input_shape", "output_shape", *GEOMETRY):
            meta[name] = list(getattr(self, name))
        return meta

    def to_tensors(self) -> dict[str, Tensor]:
        """`weight` and, where there is one, `bias`."""
        bias = {} if self.bias is None else {"bias": self.bias}
        return {"weight": self.weight, **bias}

    @classmethod
    def from_saved(cls, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The layer that `to_meta` and `to_tensors` described."""
        return cls(**meta, weight=tensors["weight"], bias=tensors.get("bias"))

    def _convolve(self, x: Tensor, transposed: bool, output_padding: Sequence[int]) -> Tensor:
        return torch.convolution(
            x,
            self.weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            transposed,
            output_padding,
            self.groups,
        )

    def _leftover(self) -> tuple[int, ...]:
        """Input rows at the far edge that no kernel position of a strided "conv" starts at."""
        kernel = self.weight.shape[2:]
        geometry = zip(self.stride, self.padding, self.dilation, kernel, strict=True)
        sizes = zip(self.input_shape[1:], self.output_shape[1:], geometry, strict=True)
        return tuple(
            size - ((out - 1) * step - 2 * pad + gap * (width - 1) + 1)
            for size, out, (step, pad, gap, width) in sizes
        )
