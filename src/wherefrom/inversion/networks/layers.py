"""Layers of the thesis' networks: equalised learning rate, blurred resampling, batch deviation.

Cho: Deep Generative Models and Their Inversions, PhD thesis, Concordia University, 2025, Section 4.
Every activation is a leaky ReLU of slope 0.2 without gain.

Deviation: outside training the deviation over the batch is its running average of training, as
batch normalisation has it.  Else the class of an image would change with the images beside it.

Deviation: an image is enlarged bilinearly (which is zero insertion followed by [1, 3, 3, 1] / 4)
before a 3x3 convolution, and shrunk by [1, 3, 3, 1] / 8 in both directions after one, mirrored at
the border; the thesis' code fuses resampling and convolution into one kernel, and pads with 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FORGETTING = 0.01  # weight of a new batch in the running deviation
SLOPE = 0.2  # TensorFlow's leaky ReLU, which the thesis' experiments used
HALF = 2**-0.5


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2."""
    return F.leaky_relu(x, SLOPE)


class Equalised(nn.Module):
    """Layer whose weights start as N(0, 1) and are multiplied by fan_in^-1/2 when used.

    Karras et al.: Progressive Growing of GANs, Section 4.1, with gain 1 until `set_gain`; the bias
    is not scaled.
    """

    def __init__(self, *shape: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.scale = self.weight[0].numel() ** -0.5


class EqualisedLinear(Equalised):
    """Dense layer."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(outputs, inputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        return F.linear(x, self.weight * self.scale, self.bias)


class EqualisedConv(Equalised):
    """Square convolution that keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(outputs, inputs, kernel, kernel, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        padding = self.weight.shape[-1] // 2
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=padding)


def blur_up(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W), bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def blur_down(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H / 2, W / 2): the kernel [1, 3, 3, 1] / 8, at a border [4, 3, 1] / 8.

    It is the transpose of `blur_up` over 4, and computed so: in bfloat16 the gradient of a
    depthwise convolution is many times slower than that of an enlargement.
    """
    count, channels, height, width = x.shape
    small = [count, channels, height // 2, width // 2]
    shrunk: Tensor = torch.ops.aten.upsample_bilinear2d_backward(
        x, [height, width], small, False, None, None
    )
    return shrunk / 4


class BatchDeviation(nn.Module):
    """f <- leaky((W1 f + W2 std(f)) / sqrt 2 + b), std over the batch per element; the thesis' own.

    Not the one of Progressive GANs, which appends one number.  In training it makes every output
    depend on the whole batch: see mixed batches.  In evaluation std(f) is `usual`, (inputs,), its
    running average over the batches of training, and no output depends on another item.
    """

    usual: Tensor
    seen: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(inputs))
        self.register_buffer("seen", torch.zeros(()))  # share of `usual` that batches have filled
        self.own = EqualisedLinear(inputs, outputs, bias=False)
        self.spread = EqualisedLinear(inputs, outputs)

    def forward(self, f: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        if self.training:
            # A square root has no slope at 0, where all of a batch is alike.
            deviation = (f.var(dim=0, unbiased=False, keepdim=True) + 1e-8).sqrt()
            self._remember(deviation[0])
        else:
            deviation = (self.usual / self.seen.clamp_min(FORGETTING))[None].to(f.dtype)
        spread = F.linear(deviation, self.spread.weight * self.spread.scale)
        return leaky((self.own(f) + spread) * HALF + self.spread.bias)

    @torch.no_grad()
    def _remember(self, deviation: Tensor) -> None:
        self.usual.lerp_(deviation.to(self.usual.dtype), FORGETTING)
        self.seen.lerp_(torch.ones_like(self.seen), FORGETTING)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Every weight N(0, 1) from one random stream, every bias 0; pages of a codebook N(0, 1)."""
    for part in module.modules():
        pages = getattr(part, "pages", None)
        if isinstance(pages, nn.Parameter):
            pages.normal_(0.0, 1.0, generator=generator)
        if isinstance(part, Equalised):
            part.weight.normal_(0.0, 1.0, generator=generator)
            if part.bias is not None:
                part.bias.zero_()


def set_gain(module: nn.Module, gain: float) -> None:
    """Multiply every equalised weight by `gain` when used."""
    for part in module.modules():
        if isinstance(part, Equalised):
            part.scale = gain * part.weight[0].numel() ** -0.5


def depends_on_batch(module: nn.Module) -> bool:
    """Whether an output may depend on the other items of the batch while the network trains.

    It recognises `BatchDeviation` and PyTorch's batch normalisation, also in a user's networks; a
    dependence that a user's network makes by itself is not seen.
    """
    kinds = (BatchDeviation, nn.modules.batchnorm._BatchNorm)
    return any(isinstance(part, kinds) for part in module.modules())
