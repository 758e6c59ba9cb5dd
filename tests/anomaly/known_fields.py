"""Feature models whose complexity and vulnerability are known by hand, and small images."""

import math

import torch
from torch import nn

from wherefrom.encoders.features import make_feature_encoder

SIDE = 8
SHAPE = (3, SIDE, SIDE)
SIZE = 3 * SIDE * SIDE


def pictures(count, *, seed=0, side=SIDE):
    """Images (count, 3, side, side) well inside [0, 1], so that no step is clamped."""
    rng = torch.Generator().manual_seed(seed)
    return 0.3 + 0.4 * torch.rand(count, 3, side, side, generator=rng)


class Linear(nn.Module):
    """M(x) = x w, (N, D)."""

    def __init__(self, rows, *, seed=0):
        super().__init__()
        w = torch.randn(SIZE, rows, generator=torch.Generator().manual_seed(seed))
        self.w = nn.Parameter(w)

    def forward(self, x):
        return x.flatten(1) @ self.w


class Circle(nn.Module):
    """M(x) on a unit circle, turned by `rate` radians per unit of the sum along w."""

    def __init__(self, w, rate):
        super().__init__()
        self.register_buffer("w", w.flatten())
        self.rate = rate

    def forward(self, x):
        t = self.rate * (x.flatten(1) @ self.w.to(x))
        return torch.stack([t.cos(), t.sin()], dim=1)


class Curved(nn.Module):
    """A smooth random map to 12 features whose curvature is strong enough to be seen."""

    def __init__(self, *, seed=0):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(SIZE, 32, generator=rng) * 3 / math.sqrt(SIZE))
        self.second = nn.Parameter(torch.randn(32, 12, generator=rng))

    def forward(self, x):
        return torch.sin(4 * x.flatten(1) @ self.first) @ self.second


class ConvNet(nn.Module):
    """A small convolutional network for images of any size, (N, 10)."""

    def __init__(self, *, seed=0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 10, 3, 2, 1), nn.GELU()
        )
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in self.parameters():
                value.normal_(0, 0.5, generator=rng)

    def forward(self, x):
        return self.layers(x).mean(dim=(2, 3))


def encoder(module, *, resolution=SIDE, kind="test"):
    """The module as a feature encoder."""
    return make_feature_encoder(module, kind=kind, resolution=resolution)
