"""ESRGAN-slim x2, a small real upscaler (@upscalerjs/esrgan-slim, MIT), for benchmarks.

    npm pack @upscalerjs/esrgan-slim        # then unpack; the model is package/models/x2

A residual dense network that ends in nearest upsampling and a 3x3 convolution from 12 channels
to 3.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class Upscaler(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to (N, 3, 2H, 2W), cut off at 0 and 1."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        kernels = _read(folder)
        self.convs = nn.ModuleDict()
        for name in dict.fromkeys(key.partition("/")[0] for key in kernels):
            kernel = torch.from_numpy(kernels[f"{name}/kernel"]).permute(3, 2, 0, 1).contiguous()
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding="same")
            conv.weight = nn.Parameter(kernel)
            conv.bias = nn.Parameter(torch.from_numpy(kernels[f"{name}/bias"]))
            self.convs[name] = conv
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The larger image."""
        c = self.convs
        start = c["F_m1"](x)
        block = c["F_0"](start)
        outputs = []
        for index in (1, 2):
            inner = torch.relu(c[f"F_{index}_1"](block))
            block = c[f"LFF_{index}"](torch.cat([block, inner], dim=1)) + block
            outputs.append(block)
        fused = c["GFF_2"](c["GFF_1"](torch.cat(outputs, dim=1))) + start
        hidden = torch.relu(c["UPN2"](torch.relu(c["UPN1"](fused))))
        larger = nn.functional.interpolate(c["UPN3"](hidden), scale_factor=2, mode="nearest")
        out: Tensor = c["SR"](larger).clamp(0, 1)
        return out


def _read(folder: Path) -> dict[str, np.ndarray]:
    """The float32 arrays of a TensorFlow.js layers model by name, as (h, w, in, out) kernels."""
    manifest = json.loads((folder / "model.json").read_text())["weightsManifest"]
    found = {}
    for group in manifest:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        start = 0
        for one in group["weights"]:
            size = int(np.prod(one["shape"]))
            values = np.frombuffer(data, dtype="<f4", count=size, offset=start)
            found[one["name"]] = values.reshape(one["shape"]).copy()
            start += 4 * size
    return found
