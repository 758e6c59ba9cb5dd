"""Bodies of the thesis' shapes at any width: MLP for vectors, CNNs for 8 to 256 px.

Cho: PhD thesis, Concordia University, 2025, Sections 4.1 to 4.5.

Deviation: convolutions are those of `layers`, the same blocks in the small and the skip network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.inversion.config import InversionConfig
from wherefrom.inversion.networks.layers import (
    HALF,
    BatchDeviation,
    EqualisedConv,
    EqualisedLinear,
    blur_down,
    blur_up,
    leaky,
)

MLP_WIDTH, CONV_WIDTH, MLP_DEPTH, MAX_WIDENING = 128, 32, 4, 8
SMALL, LARGE = (8, 16, 28, 32), (64, 128, 256)


class MlpGenerator(nn.Module):
    """Four hidden layers for vectors; pages are appended to the input."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.page_size = width
        self.first = EqualisedLinear(inputs, width)
        self.rest = nn.ModuleList(EqualisedLinear(width, width) for _ in range(MLP_DEPTH - 1))
        self.last = EqualisedLinear(width, outputs)
        self.paged: EqualisedLinear | None = None

    def expect_pages(self) -> None:
        """Make room for `page_size` more inputs."""
        self.paged = EqualisedLinear(self.page_size, self.page_size, bias=False)

    def forward(self, x: Tensor, pages: Tensor | None = None) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        h = self.first(x)
        if self.paged is not None and pages is not None:
            h = (h + self.paged(pages)) * HALF
        h = leaky(h)
        for layer in self.rest:
            h = leaky(layer(h))
        out: Tensor = self.last(h)
        return out


class MlpCritic(nn.Module):
    """Four hidden layers for vectors (N, D) -> (N, width)."""

    def __init__(self, inputs: int, width: int, *, batch_deviation: bool = False) -> None:
        super().__init__()
        sizes = [inputs, *[width] * MLP_DEPTH]
        pairs = pairwise(sizes)
        self.layers = nn.ModuleList(EqualisedLinear(a, b) for a, b in pairs)
        self.end = BatchDeviation(width, width) if batch_deviation else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, width)."""
        for layer in self.layers:
            x = leaky(layer(x))
        return x if self.end is None else self.end(x)


class ConvGenerator(nn.Module):
    """A dense start map, then stages of enlarging and two 3x3 convolutions, then 1x1 to pixels.

    `skip`: every stage adds pixels of its own to the enlarged sum of those before, and a dense
    layer of 2 d + 8 precedes the start map.  Section 4.2.
    """

    def __init__(self, inputs: int, shape: tuple[int, int, int], width: int, *, skip: bool) -> None:
        super().__init__()
        self.side, stages = _start(shape)
        widths = [width * min(2**k, MAX_WIDENING) for k in reversed(range(stages + 1))]
        self.skip, self.start, self.after = skip, widths[0], widths[1]
        self.page_size = widths[0] * self.side**2
        hidden = 2 * inputs + 8 if skip else inputs
        self.mapping = EqualisedLinear(inputs, hidden) if skip else None
        self.dense = EqualisedLinear(hidden, self.page_size)
        self.first = nn.ModuleList(EqualisedConv(a, b, 3) for a, b in pairwise(widths))
        self.second = nn.ModuleList(EqualisedConv(b, b, 3) for b in widths[1:])
        pixels = widths[1:] if skip else widths[-1:]
        self.pixels = nn.ModuleList(EqualisedConv(b, shape[0], 1, bias=False) for b in pixels)
        self.bias = nn.Parameter(torch.zeros(shape[0], 1, 1))

    def expect_pages(self) -> None:
        """Let the first convolution see as many page channels as it sees others."""
        self.first[0] = EqualisedConv(2 * self.start, self.after, 3)

    def forward(self, x: Tensor, pages: Tensor | None = None) -> Tensor:
        """(N, inputs) -> (N, C, S, S)."""
        if self.mapping is not None:
            x = leaky(self.mapping(x))
        h = leaky(self.dense(x)).reshape(len(x), self.start, self.side, self.side)
        if pages is not None:
            h = torch.cat([h, pages.reshape_as(h).to(h.dtype)], dim=1)
        total = None
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            h = leaky(second(leaky(first(blur_up(h)))))
            if self.skip:
                own = self.pixels[index](h)
                total = own if total is None else own + blur_up(total)
        out: Tensor = self.pixels[0](h) if total is None else total
        return out + self.bias


class ConvCritic(nn.Module):
    """1x1 convolution, then stages of two 3x3 convolutions and shrinking; a flat map at the end.

    `input_skip`: after each stage a 1x1 convolution of the shrunk image is added.  Section 4.2.
    """

    def __init__(
        self, shape: tuple[int, int, int], width: int, *, input_skip: bool,
        batch_deviation: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        side, stages = _start(shape)
        widths = [width * min(2**k, MAX_WIDENING) for k in range(stages + 1)]
        self.entry = EqualisedConv(shape[0], width, 1)
        pairs = list(pairwise(widths))
        self.first = nn.ModuleList(EqualisedConv(a, a, 3) for a, _ in pairs)
        self.second = nn.ModuleList(EqualisedConv(a, b, 3) for a, b in pairs)
        views = widths[1:] if input_skip else []
        self.views = nn.ModuleList(EqualisedConv(shape[0], b, 1, bias=False) for b in views)
        flat = widths[-1] * side**2
        self.end = BatchDeviation(flat, widths[-1]) if batch_deviation else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, F)."""
        h = leaky(self.entry(x))
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            h = blur_down(second(leaky(first(h))))
            if self.views:
                x = blur_down(x)
                h = (h + self.views[index](x)) * HALF
            h = leaky(h)
        flat = h.flatten(1)
        return flat if self.end is None else self.end(flat)


class Architecture(Protocol):
    """Makes bodies; a user's own networks enter here.

    `generator(inputs)` maps (N, inputs) to (N, *shape) in [-1, 1]; `critic()` maps (N, *shape) to
    (N, F).  Both are called again for every network of a method and when it is loaded.
    """

    def generator(self, inputs: int) -> nn.Module:
        """A new synthesis network."""
        ...

    def critic(self) -> nn.Module:
        """A new body of a critic, classifier or encoder."""
        ...


@dataclass(frozen=True)
class StandardArchitecture:
    """The networks of this module for data of `shape`: (C, S, S), or (D,) for vectors."""

    config: InversionConfig
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.kind  # noqa: B018 (refuses a shape that fits no network)

    @property
    def kind(self) -> str:
        """mlp, small or skip; an `InputError` where the data does not fit."""
        asked = self.config.network
        if len(self.shape) == 1:
            return _agree(asked, "mlp", self.shape)
        if len(self.shape) != 3 or self.shape[1] != self.shape[2]:
            raise InputError(f"data of shape {self.shape}; expected square images or vectors")
        if self.shape[1] in SMALL:
            return "skip" if asked == "skip" else _agree(asked, "small", self.shape)
        if self.shape[1] in LARGE:
            return "small" if asked == "small" else _agree(asked, "skip", self.shape)
        sides = ", ".join(map(str, (*SMALL, *LARGE)))
        raise InputError(f"images of {self.shape[1]} px; the networks take {sides} px")

    @property
    def width(self) -> int:
        """Channels at full size, or hidden units."""
        return self.config.width or (MLP_WIDTH if self.kind == "mlp" else CONV_WIDTH)

    def generator(self, inputs: int) -> nn.Module:
        """A new synthesis network, all weights 0."""
        if self.kind == "mlp":
            return MlpGenerator(inputs, self.shape[0], self.width)
        return ConvGenerator(inputs, self._image, self.width, skip=self.kind == "skip")

    def critic(self) -> nn.Module:
        """A new body, all weights 0."""
        spread = self.config.batch_deviation
        if self.config.critic == "projected":
            from wherefrom.inversion.networks.projected import ProjectedCritic, refuse_projected

            refuse_projected(self.shape, batch_deviation=spread)
            return ProjectedCritic(self._image, 2 * self.width)
        if self.kind == "mlp":
            return MlpCritic(self.shape[0], self.width, batch_deviation=spread)
        skip = self.config.input_skip or self.kind == "skip"
        return ConvCritic(self._image, self.width, input_skip=skip, batch_deviation=spread)

    @property
    def _image(self) -> tuple[int, int, int]:
        channels, height, width = self.shape
        return channels, height, width


def _agree(asked: str, fits: str, shape: tuple[int, ...]) -> str:
    if asked not in ("auto", fits):
        raise InputError(f"the network {asked!r} does not take data of shape {shape}; use {fits!r}")
    return fits


def _start(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Side of the smallest map and the number of stages between it and the image."""
    side = 7 if shape[1] == 28 else 4
    return side, (shape[1] // side).bit_length() - 1
