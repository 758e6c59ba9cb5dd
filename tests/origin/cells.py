"""An encoder that costs nearly nothing: the colours of an image in coarse cells."""

import torch
from torch import nn
from torch.nn import functional as F

from wherefrom.encoders.encoder import make_encoder


class Cells(nn.Module):
    """Images as (N, 3, side, side): the mean colour of each cell, less `grey`."""

    def __init__(self, side, grey):
        super().__init__()
        self.side = side
        self.register_buffer("grey", torch.tensor(grey))

    def forward(self, x):
        return F.adaptive_avg_pool2d(x, (self.side, self.side)) - self.grey


def cells_encoder(side, *, grey=0.5):
    """The encoder of `Cells`; `grey` is its only weight."""
    return make_encoder(Cells(side, grey), kind="cells", config={"side": side})
