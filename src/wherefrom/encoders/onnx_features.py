"""A feature network in an ONNX file, as copy-detection networks are published.

The file has one input, images (N, 3, S, S) float32 or (N, S, S, 3) uint8, and its first output is
(N, D).  Floats are normalised by ImageNet's mean and deviation; 8-bit input is given as it is.  A
network that takes any S is given 256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.saving.store import digest_file
from wherefrom.encoders.encoder import RESOLUTION
from wherefrom.encoders.features import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FeatureNetwork,
    make_feature_encoder,
)

SUFFIX = ".onnx"
BYTES, FLOATS = "tensor(uint8)", "tensor(float)"


def load_onnx_features(path: Path) -> FeatureNetwork:
    """The network in an ONNX file, on the CPU; `MissingExtraError` without onnxruntime."""
    runtime = need("onnxruntime", "an ONNX feature network", extra="onnx")
    if not path.is_file():
        raise InputError(f"{path} is not a file; give an ONNX file with the suffix {SUFFIX}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums in one order
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own
        raise InputError(f"{path} cannot be loaded as ONNX: {str(error)[:200]}") from error
    given = session.get_inputs()[0]
    channels = {BYTES: 3, FLOATS: 1}.get(given.type)
    if channels is None or len(given.shape) != 4 or given.shape[channels] != 3:
        raise InputError(
            f"{path} takes {given.type} of shape {given.shape}; expected float (N, 3, S, S) or "
            "uint8 (N, S, S, 3)"
        )
    side = given.shape[2] if isinstance(given.shape[2], int) else RESOLUTION

    def run(images: Tensor) -> Tensor:
        return torch.cat(
            [_features(session, given, image, side) for image in torch.split(images, 1)]
        )

    return make_feature_encoder(
        run, kind="onnx", resolution=side, config={"file": digest_file(path), "input": given.type}
    )


def _features(session: Any, given: Any, image: Tensor, side: int) -> Tensor:
    small = F.interpolate(image.float(), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    if given.type == BYTES:
        pixels = small.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
    else:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        pixels = (small - mean) / std
    rows = session.run(None, {given.name: pixels.detach().contiguous().numpy()})[0]
    return torch.from_numpy(rows).float()
