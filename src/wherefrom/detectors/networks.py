"""The bias-free networks of Deep SAD as FLIPAD uses them.

Ruff et al.: Deep Semi-Supervised Anomaly Detection, ICLR 2020; FLIPAD, App. G.7.  No layer has a
bias and no normalisation has a shift, so that no network can map everything onto the centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wherefrom.core.errors import InputError


class LeNet(nn.Module):
    """Blocks of 5x5 convolution, batch norm, leaky ReLU and 2x2 max-pooling, then a dense layer.

    Input (N, C, H, W), output (N, representation).  `widths` are the channels after each block:
    (32, 64, 128) is Deep SAD's CIFAR-10 network, (128, 256, 128) FLIPAD's for 64 channels.
    """

    def __init__(
        self, shape: tuple[int, int, int], widths: Sequence[int], representation: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 2 ** len(widths):
            raise InputError(
                f"inputs of {height}x{width} are too small for {len(widths)} poolings; "
                f"give at least {2 ** len(widths)}x{2 ** len(widths)}"
            )
        layers: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            layers += [nn.Conv2d(before, after, 5, padding=2, bias=False)]
            layers += [nn.BatchNorm2d(after, eps=1e-4, affine=False), nn.LeakyReLU(0.01)]
            layers += [nn.MaxPool2d(2)]
            height, width = height // 2, width // 2
        self.blocks = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Linear(widths[-1] * height * width, representation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, representation)."""
        out: Tensor = self.dense(self.blocks(x))
        return out


class MLP(nn.Module):
    """Dense layers with batch norm and leaky ReLU for vectors; FLIPAD's tabular network.

    Input (N, D), output (N, representation).
    """

    def __init__(self, dimension: int, widths: Sequence[int], representation: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([dimension, *widths], widths, strict=False):
            layers += [nn.Linear(before, after, bias=False)]
            layers += [nn.BatchNorm1d(after, eps=1e-4, affine=False), nn.LeakyReLU(0.01)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], representation, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, representation)."""
        out: Tensor = self.layers(x)
        return out


def lenet_widths(shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Widths by the kind of input.

    Images (up to 4 channels): (32, 64, 128), with a fourth block of 128 from 64 pixels up.
    Activations of C channels: (2C, 4C, 2C), which is FLIPAD's 128, 256, 128 at C = 64.
    """
    channels, height, width = shape
    if channels <= 4:
        return (32, 64, 128) if min(height, width) < 64 else (32, 64, 128, 128)
    return (2 * channels, 4 * channels, 2 * channels)


TABULAR_WIDTHS = (512, 1024, 512, 256, 128)


def make_network(shape: tuple[int, ...], representation: int) -> nn.Module:
    """The network for inputs of `shape`: (C, H, W) -> LeNet, (D,) -> MLP."""
    if len(shape) == 3:
        image = (shape[0], shape[1], shape[2])
        return LeNet(image, lenet_widths(image), representation)
    if len(shape) == 1:
        return MLP(shape[0], TABULAR_WIDTHS, min(representation, 32))
    raise InputError(f"inputs of shape {shape}: expected (C, H, W) or (D,)")


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation, U(+-1 / sqrt(fan in)), from one random stream."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            bound = part.weight[0].numel() ** -0.5
            part.weight.uniform_(-bound, bound, generator=generator)
